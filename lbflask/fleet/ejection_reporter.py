"""Failures at the backends of one pool as one worker sees them: reported, judged, and probed after an ejection.

Requests only count, under a lock and without a trip; `report` makes the trips, in the background. Successes cause no
trip of their own: attempts are reported along with a failure or with the heartbeat.
"""

from __future__ import annotations

import _thread
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from lbflask.core import ejection
from lbflask.core.ejection import EjectionPolicy, FailureReport
from lbflask.core.eligibility import UNCHECKED
from lbflask.core.faults import Blame, Fault
from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.model import Snapshot
from lbflask.fleet.local_worker import LocalWorker
from lbflask.fleet.recent_stats import SlidingStats
from lbflask.store.ports import StoreUnavailable, WorkerStore

#: Seconds for which a worker may probe without renewing the right to it.
PROBE_LEASE = 5.0
#: Seconds between two requests for the right to probe, and between two renewals of it.
PROBE_RENEWAL = 1.0
#: Seconds for which a probe waits for a request that could be sent again if it failed.
PREFER_SAFE_FOR = 1.0

#: Successful attempts that wait to be counted; further ones are counted by their requests.
MAX_ANSWERED = 10_000
#: Limit of the events that are kept while the store does not accept them.
MAX_EVENTS = 1000
#: The event for an ejection that is settled, by whether the backend is back.
_SETTLED = {True: ("returned", "it answers again"), False: ("ejected", "it failed again when it was probed")}

#: A backend, and the time at which its ejection began.
_Ejection = tuple[str, float]


@dataclass(slots=True)
class _Probe:
    """The way to a probe: the ejection that is due, whether a request is there for it, when the right to probe was
    granted, the ejection that a request probes now, and when the right was last taken or renewed.
    """

    due: _Ejection | None = None
    wanted: bool = False
    granted: float | None = None
    sent: _Ejection | None = None
    held: float = float("-inf")
    pause_until: float = float("-inf")


class EjectionReporter:
    """Threads and greenlets may share it; `report` is for one of them."""

    def __init__(self, pool: str, policy: EjectionPolicy, worker: LocalWorker, stats: SlidingStats) -> None:
        self._pool = pool
        self._policy = policy
        self._least_failure = min(policy.statuses)  # all statuses below it are successes
        self._worker = worker
        self._clock, self._wake = worker.clock, worker.wake.set
        self._stats = stats
        # Nothing blocks while it is held, so greenlets need no lock; this one costs them the least.
        self._lock = _thread.RLock()
        #: The backends of successful attempts, of which a request only appends its own: a count for each backend would
        #: be in no cache of the processor where there are many.
        self._answered: list[str] = []
        self._attempts: Counter[str] = Counter()  # the rest, and those of `_answered` that were counted
        self._failures: dict[str, FailureReport] = {}
        self._reasons: dict[str, str] = {}  # of the latest failure of each backend that has failed
        self._verdicts: dict[str, tuple[float, bool]] = {}  # beginning of the ejection, and whether the backend is back
        self._probe = _Probe()
        self._events: list[FleetEvent] = []

    def __repr__(self) -> str:
        return f"<EjectionReporter of {self._pool}, failures={self._failures} probe={self._probe}>"

    def set_members(self, members: tuple[str, ...]) -> None:
        """The ids of the backends that are in the pool and take requests."""
        if members != self._policy.members:
            self._policy = replace(self._policy, members=members)

    def set_policy(self, policy: EjectionPolicy) -> None:
        """Eject by this policy from now on."""
        self._policy, self._least_failure = policy, min(policy.statuses)

    def answered(self, backend: str, status: int) -> None:
        """The head of a response was received."""
        if status < self._least_failure and self._probe.sent is None and len(self._answered) < MAX_ANSWERED:
            self._answered.append(backend)
            return
        weight = ejection.weight_of_status(status, self._policy.statuses)
        with self._lock:
            self._attempts[backend] += 1
            is_verdict = self._probe.sent is not None and self._probe_ended(backend, ok=not weight)
            if weight:
                self._count(backend, weight, f"it answered {status}")
        if weight or is_verdict:
            self._wake()

    def failed(self, backend: str, fault: Fault) -> None:
        """An attempt ended without a response. It is not counted unless the backend is to blame."""
        weight = ejection.weight_of_fault(fault, self._policy.silence)
        with self._lock:
            if weight:
                self._attempts[backend] += 1
                self._probe_ended(backend, ok=False)
                self._count(backend, weight, fault.reason)
            elif fault.blame is not Blame.BACKEND:
                self._probe_abandoned(backend)
        if weight:
            self._wake()

    def broke_off(self, backend: str, fault: Fault) -> None:
        """An attempt ended with a fault, after the head of its response."""
        weight = ejection.weight_of_fault(fault)
        if weight:
            with self._lock:
                self._count(backend, weight, fault.reason)
            self._wake()

    def probe(self, safe: bool) -> str | None:
        """The ejected backend that this request has to try first, if any: one request for each right to probe.

        For the first PREFER_SAFE_FOR seconds a right waits for a `safe` request, which could be sent again.
        """
        if self._probe.due is None:
            return None
        with self._lock:
            probe = self._probe
            if probe.due is None:
                return None
            if probe.granted is None:
                if not probe.wanted and probe.sent is None:
                    probe.wanted = True
                    self._wake()
                return None
            if not safe and self._clock() - probe.granted < PREFER_SAFE_FOR:
                return None
            probe.sent, probe.due, probe.granted = probe.due, None, None
            return probe.sent[0]

    def passed_over(self, backend: str) -> None:
        """The request does not go to the backend; if that was to be a probe, there is none."""
        if self._probe.sent is not None:
            with self._lock:
                self._probe_abandoned(backend)

    @property
    def has_attempts(self) -> bool:
        """Whether there are attempts to report."""
        return bool(self._answered or self._attempts)

    @property
    def unreported(self) -> int:
        """The number of attempts that were not reported yet."""
        with self._lock:
            return len(self._answered) + sum(self._attempts.values())

    def take_attempts(self) -> Mapping[str, int]:
        """The attempts by backend that were not reported yet, which count as reported from now on."""
        with self._lock:
            self._count_answered()
            attempts, self._attempts = self._attempts, Counter()
        return attempts

    def return_attempts(self, attempts: Mapping[str, int]) -> None:
        """These attempts could not be reported."""
        with self._lock:
            for backend, count in attempts.items():
                self._attempts[backend] += count

    def report(self, store: WorkerStore, snapshot: Snapshot, now: float) -> bool:
        """Report all that is due; True if the snapshot has to be read again. `now` is the store's clock.

        Raises StoreUnavailable; what could not be reported is kept for the next call.
        """
        changed = self._report_failures(store)
        self._end_void_ejections(snapshot)
        changed = self._report_verdicts(store) or changed
        self._prepare_probe(store, snapshot, now)
        self._report_events(store)
        return changed

    def _count_answered(self) -> None:
        """Count the attempts that were only noted. Called under the lock, while others may be noted."""
        noted = len(self._answered)
        self._attempts.update(self._answered[:noted])
        del self._answered[:noted]

    def _count(self, backend: str, weight: int, reason: str) -> None:
        """Add a failure. Called under the lock."""
        self._stats.failed(backend)
        self._reasons[backend] = reason
        if self._policy.quota > 0:
            self._add(backend, FailureReport(0, 1, weight))

    def _add(self, backend: str, more: FailureReport) -> None:
        before = self._failures.get(backend, FailureReport())
        self._failures[backend] = FailureReport(0, before.failures + more.failures, before.weight + more.weight)

    def _probe_ended(self, backend: str, *, ok: bool) -> bool:
        """Note the outcome of a probe; False if the backend is not being probed. Called under the lock."""
        sent = self._probe.sent
        if sent is None or sent[0] != backend:
            return False
        self._probe.sent = None
        self._verdicts[backend] = sent[1], ok
        return True

    def _probe_abandoned(self, backend: str) -> None:
        """End a probe without an outcome; the right to it expires. Called under the lock."""
        if self._probe.sent is not None and self._probe.sent[0] == backend:
            self._probe.sent = None

    def _report_failures(self, store: WorkerStore) -> bool:
        changed = False
        while self._failures:
            with self._lock:
                self._count_answered()
                backend, failed = self._failures.popitem()
                attempts = self._attempts.pop(backend, 0)
            try:
                report = FailureReport(attempts, failed.failures, failed.weight)
                ejected = store.count_failures(self._pool, backend, report, self._policy)
            except StoreUnavailable:
                with self._lock:
                    self._attempts[backend] += attempts
                    self._add(backend, failed)
                raise
            self._stats.count({backend: attempts})
            if ejected:
                changed = True
                self._note(backend, "ejected", f"requests failed, the latest: {self._reasons.get(backend, '')}")
        return changed

    def _end_void_ejections(self, snapshot: Snapshot) -> None:
        """End ejections that active checks have made void, so that they do not count for the fleet any more."""
        for backend, state in snapshot.ejected.items():
            if state.out and not ejection.is_out(state, snapshot.active.get(backend, UNCHECKED)):
                self._verdicts.setdefault(backend, (state.since, True))

    def _report_verdicts(self, store: WorkerStore) -> bool:
        changed = False
        while self._verdicts:
            with self._lock:
                backend, (since, back) = self._verdicts.popitem()
            try:
                settled = store.settle_ejection(self._pool, backend, since, back=back, rule=self._policy)
            except StoreUnavailable:
                with self._lock:
                    self._verdicts.setdefault(backend, (since, back))
                raise
            if settled:
                changed = True
                self._note(backend, *_SETTLED[back])
        return changed

    def _prepare_probe(self, store: WorkerStore, snapshot: Snapshot, now: float) -> None:
        """Choose the ejection that is due, and take or keep the right to probe it."""
        probe, clock = self._probe, self._clock()
        due = ejection.due(snapshot.ejected, self._policy, now) if snapshot.ejected else []
        if probe.sent is not None:
            if clock - probe.held >= PROBE_RENEWAL:
                probe.held = clock
                store.hold_probe(self._pool, self._worker.id, PROBE_LEASE)
            return
        with self._lock:
            if probe.granted is not None and clock - probe.granted > PROBE_LEASE:
                probe.granted = None
            if not due or clock < probe.pause_until:
                probe.due, probe.granted, probe.wanted = None, None, False
                return
            if probe.granted is not None and probe.due is not None and probe.due[0] in due:
                return
            probe.due, probe.granted = (due[0], snapshot.ejected[due[0]].since), None
            wanted, probe.wanted = probe.wanted, False
        if wanted:
            if store.hold_probe(self._pool, self._worker.id, PROBE_LEASE):
                probe.granted = probe.held = clock
            else:
                probe.pause_until = clock + PROBE_RENEWAL

    def _note(self, backend: str, what: str, reason: str) -> None:
        """Note the event of a change that this worker has made."""
        if len(self._events) < MAX_EVENTS:
            self._events.append(FleetEvent(Kind.EJECTION, what, self._pool, backend, reason, self._worker.id))

    def _report_events(self, store: WorkerStore) -> None:
        """A failure is ignored: any other trip shows whether the store is there."""
        if self._events:
            with suppress(StoreUnavailable):
                store.record(self._events)
                self._events.clear()
