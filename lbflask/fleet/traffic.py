"""One pool's requests as one worker sees them: what is in flight, what failed, and what of it the fleet is to know.

Requests only note what happens, which costs a lock and no trip. All that concerns the store is done by `tell`, in the
background. A success is never told by itself: attempts go along with a failure or with the beat.
"""

from __future__ import annotations

import _thread
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from lbflask.core import ejection
from lbflask.core.ejection import EjectionPolicy, FailureReport
from lbflask.core.eligibility import UNCHECKED
from lbflask.core.faults import Blame, Fault
from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.fleet_stats import WorkerIdentity, WorkerReport
from lbflask.core.in_flight import Loads
from lbflask.core.model import Snapshot
from lbflask.fleet.recent_stats import SlidingStats
from lbflask.store.ports import DEAD_AFTER, StoreUnavailable, WorkerStore

#: Seconds between two beats of a worker: with nothing new, with news, and while it reads the loads of the others.
BEAT_EVERY = 1.0
BEAT_WITH_NEWS_EVERY = 0.5
BEAT_WHILE_READING_EVERY = 0.1
#: Seconds between two reports of what a worker is and did lately. They go along with beats.
REPORT_EVERY = 1.0
#: Who has not asked for the loads for so many seconds no longer reads those of the others.
READING_LASTS = 5.0
#: The dead are buried by everybody who reads, and by each worker once in so many seconds.
BURY_EVERY = 60.0
#: Seconds for which a worker may probe without renewing the right to it.
PROBE_LEASE = 5.0
#: Seconds for which a probe waits for a request that could be sent again if it failed.
PREFER_SAFE_FOR = 1.0

#: Events that are kept while they can't be told.
MOST_UNTOLD = 1000
#: What becomes of an ejection, by whether the backend is back.
_VERDICTS = {True: ("returned", "it answers again"), False: ("ejected", "it failed again when it was probed")}

#: An ejection that is to end (True) or to last longer, by the moment it began.
_Verdict = tuple[float, bool]


@dataclass(slots=True)
class _Probe:
    """On the way to a probe: which ejection is due, that a request would go there, since when we may send one, what
    was sent, and when the right to it was taken or renewed. An ejection is a backend and the moment it began.
    """

    due: tuple[str, float] | None = None
    wanted: bool = False
    granted: float | None = None
    sent: tuple[str, float] | None = None
    held: float = float("-inf")
    pause_until: float = float("-inf")


class Traffic:
    """What a worker does at the backends of a pool. Threads and greenlets may share it; `tell` is for one of them.

    `wake` is called when there is something that should be told at once.
    """

    def __init__(self, pool: str, rule: EjectionPolicy, clock: Callable[[], float], wake: Callable[[], None]) -> None:
        self.worker = ""  #: who we are among the workers; known once the process is
        self.workers = 1  #: how many live, as last known
        self.who = WorkerIdentity()  #: the same, for operators
        self._account = SlidingStats(clock())
        #: Takes an attempt that brought a response: its backend, and the seconds until the head had come.
        self.sample = self._account.sample
        self._reported = float("-inf")
        self._why: dict[str, str] = {}  # the latest failure of each backend that has failed
        self._events: list[FleetEvent] = []
        self._pool = pool
        self._rule = rule
        self._ejects = rule.quota > 0
        self._clock = clock
        self._wake = wake
        # Nobody waits for anything under it, so greenlets need no lock, and this one costs them the least.
        self._lock = _thread.RLock()
        self._in_flight: defaultdict[str, int] = defaultdict(int)
        self._attempts: defaultdict[str, int] = defaultdict(int)
        self._failures: dict[str, FailureReport] = {}
        self._verdicts: dict[str, _Verdict] = {}
        self._probe = _Probe()
        self._others: Mapping[str, int] = {}
        self._live: Loads | None = None  # from when it is first asked for
        self._stands_for = 1  # for how many of the fleet a request of ours stands that begins or ends
        self._others_read = self._asked = self._buried = self._beaten = float("-inf")
        self._beaten_with: dict[str, int] = {}

    def has_members(self, members: tuple[str, ...]) -> None:
        """These backends, by id, are in the pool from now on, and take traffic."""
        if members != self._rule.members:
            self._rule = replace(self._rule, members=members)
            self._ejects = self._rule.quota > 0

    def obey(self, rule: EjectionPolicy) -> None:
        """Backends are ejected by this rule from now on."""
        self._rule = rule
        self._ejects = rule.quota > 0

    @property
    def beats(self) -> bool:
        """Whether the store knows of this worker, as far as we can tell."""
        return self._beaten > float("-inf")

    def began(self, backend: str) -> None:
        """An attempt at the backend begins."""
        with self._lock:
            self._in_flight[backend] += 1
            if self._live is not None:
                self._live.add(backend, self._stands_for)

    def answered(self, backend: str, status: int) -> None:
        """The head of a response has come; the attempt goes on until `ended`."""
        weight = ejection.weight_of_status(status) if status >= 500 else 0
        with self._lock:
            self._attempts[backend] += 1
            told = self._probe.sent is not None and self._probe_ended(backend, ok=not weight)
            if weight:
                self._count(backend, weight, f"it answered {status}")
        if weight or told:
            self._wake()

    def failed(self, backend: str, fault: Fault) -> None:
        """The attempt has ended without a response. One that nobody is to blame for, or the client, is no attempt."""
        weight = ejection.weight_of_fault(fault)
        with self._lock:
            self._in_flight[backend] -= 1
            if self._live is not None:
                self._live.add(backend, -self._stands_for)
            if weight:
                self._attempts[backend] += 1
                self._probe_ended(backend, ok=False)
                self._count(backend, weight, fault.reason)
            elif fault.blame is not Blame.BACKEND:
                self._probe_given_up(backend)
        if weight:
            self._wake()

    def ended(self, backend: str, fault: Fault | None = None) -> None:
        """The attempt has ended otherwise: after its response had begun, whole or with the fault that broke it off."""
        weight = 0 if fault is None else ejection.weight_of_fault(fault)
        with self._lock:
            self._in_flight[backend] -= 1
            if self._live is not None:
                self._live.add(backend, -self._stands_for)
            if self._probe.sent is not None:
                self._probe_given_up(backend)
            if fault is not None and weight:
                self._count(backend, weight, fault.reason)
        if weight:
            self._wake()

    def probe(self, safe: bool) -> str | None:
        """The backend that this request is to try first, though it is ejected: once for each right to probe.

        The first second of it waits for a `safe` request, which could be sent again.
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
        """The request that was to try the backend does not; if that would have been a probe, it is none."""
        if self._probe.sent is not None:
            with self._lock:
                self._probe_given_up(backend)

    def loads(self) -> dict[str, int]:
        """Requests in flight at each backend: our own as they are now, those of the others as last known."""
        now = self._clock()
        self._asked = now
        total = dict(self._others) if now - self._others_read <= DEAD_AFTER else {}
        for backend, load in self.own_loads().items():
            total[backend] = total.get(backend, 0) + load
        return total

    def live_loads(self) -> Loads:
        """Requests in flight at each backend, kept up to date rather than counted for each who asks. Not to be changed.

        They are those of `loads` whenever we hear of the others. Until we hear again, each request of ours that begins
        or ends stands for those of the others too that presumably do so meanwhile: else all who hear that a backend has
        few would fill it up, each for itself (ADR 0015). A backend may be thought to have less than none by that.
        """
        self._asked = now = self._clock()
        if self._live is None or (self._others and now - self._others_read > DEAD_AFTER):
            with self._lock:
                if self._live is None:
                    self._live = Loads({})
                if now - self._others_read > DEAD_AFTER:
                    self._others = {}
                self._recount()
        return self._live

    def own_loads(self) -> dict[str, int]:
        """Requests of this worker in flight at each backend that has any."""
        with self._lock:
            return {backend: load for backend, load in self._in_flight.items() if load}

    @property
    def patience(self) -> float:
        """Seconds until the next `tell` is due, if nobody wakes us before."""
        return BEAT_WHILE_READING_EVERY if self._reading(self._clock()) else BEAT_WITH_NEWS_EVERY

    def tell(self, store: WorkerStore, snapshot: Snapshot, now: float) -> bool:
        """Tell the store all that it should know by now; whether the snapshot should be read again.

        `now` is the store's clock. Raises StoreUnavailable; what could not be told is kept for the next time.
        """
        changed = self._tell_failures(store)
        self._revise(snapshot)
        changed = self._tell_verdicts(store) or changed
        self._see_to_probes(store, snapshot, now)
        self._beat(store)
        self._tell_events(store)
        return changed

    def leave(self, store: WorkerStore) -> None:
        """Let the others forget this worker. Raises StoreUnavailable."""
        store.leave(self._pool, self.worker)
        self._beaten = float("-inf")

    def _count(self, backend: str, weight: int, why: str) -> None:
        """Add a failure, under the lock."""
        self._account.failed(backend)
        self._why[backend] = why
        if not self._ejects:
            return
        before = self._failures.get(backend, FailureReport())
        self._failures[backend] = FailureReport(0, before.failures + 1, before.weight + weight)

    def _probe_ended(self, backend: str, *, ok: bool) -> bool:
        """Note the outcome of a probe, under the lock; False if it was none."""
        sent = self._probe.sent
        if sent is None or sent[0] != backend:
            return False
        self._probe.sent = None
        self._verdicts[backend] = sent[1], ok
        return True

    def _probe_given_up(self, backend: str) -> None:
        """A probe of which nothing was learned, under the lock; the right to it runs out by itself."""
        if self._probe.sent is not None and self._probe.sent[0] == backend:
            self._probe.sent = None

    def _tell_failures(self, store: WorkerStore) -> bool:
        changed = False
        while self._failures:
            with self._lock:
                backend, failed = self._failures.popitem()
                attempts = self._attempts.pop(backend, 0)
            try:
                report = FailureReport(attempts, failed.failures, failed.weight)
                out = store.count_failures(self._pool, backend, report, self._rule)
            except StoreUnavailable:
                with self._lock:
                    later = self._failures.get(backend, FailureReport())
                    self._attempts[backend] += attempts
                    self._failures[backend] = FailureReport(
                        0, failed.failures + later.failures, failed.weight + later.weight
                    )
                raise
            self._account.count({backend: attempts})
            if out:
                changed = True
                self._note(backend, "ejected", f"requests failed, the latest: {self._why.get(backend, '')}")
        return changed

    def _revise(self, snapshot: Snapshot) -> None:
        """End ejections that have become void, so that they do not count for the fleet any more."""
        for backend, state in snapshot.ejected.items():
            if state.out and not ejection.is_out(state, snapshot.active.get(backend, UNCHECKED)):
                self._verdicts.setdefault(backend, (state.since, True))

    def _tell_verdicts(self, store: WorkerStore) -> bool:
        changed = False
        while self._verdicts:
            with self._lock:
                backend, (since, back) = self._verdicts.popitem()
            try:
                settled = store.settle_ejection(self._pool, backend, since, back=back, rule=self._rule)
            except StoreUnavailable:
                with self._lock:
                    self._verdicts.setdefault(backend, (since, back))
                raise
            if settled:
                changed = True
                self._note(backend, *_VERDICTS[back])
        return changed

    def _see_to_probes(self, store: WorkerStore, snapshot: Snapshot, now: float) -> None:
        probe, clock = self._probe, self._clock()
        waiting = ejection.due(snapshot.ejected, self._rule, now) if snapshot.ejected else []
        if probe.sent is not None:
            if clock - probe.held >= BEAT_EVERY:
                probe.held = clock
                store.hold_probe(self._pool, self.worker, PROBE_LEASE)
            return
        with self._lock:
            if probe.granted is not None and clock - probe.granted > PROBE_LEASE:
                probe.granted = None
            if not waiting or clock < probe.pause_until:
                probe.due, probe.granted, probe.wanted = None, None, False
                return
            if probe.granted is not None and probe.due is not None and probe.due[0] in waiting:
                return
            probe.due, probe.granted = (waiting[0], snapshot.ejected[waiting[0]].since), None
            wanted, probe.wanted = probe.wanted, False
        if wanted:
            if store.hold_probe(self._pool, self.worker, PROBE_LEASE):
                probe.granted = probe.held = clock
            else:
                probe.pause_until = clock + BEAT_EVERY

    def _recount(self) -> None:
        """Let the live loads be what is in flight, under the lock."""
        if self._live is None:
            return
        own = {backend: load for backend, load in self._in_flight.items() if load}
        for backend in {**self._live, **own, **self._others}:
            more = own.get(backend, 0) + self._others.get(backend, 0) - self._live.get(backend, 0)
            if more:
                self._live.add(backend, more)
        self._stands_for = 1 + round(sum(self._others.values()) / max(1, sum(own.values())))

    def _note(self, backend: str, what: str, reason: str) -> None:
        """We have changed what the fleet knows of the backend: that is an event."""
        if len(self._events) < MOST_UNTOLD:
            self._events.append(FleetEvent(Kind.EJECTION, what, self._pool, backend, reason, self.worker))

    def _tell_events(self, store: WorkerStore) -> None:
        """Not to have told them is no trouble: whatever else we ask of the store shows whether it is there."""
        if self._events:
            with suppress(StoreUnavailable):
                store.record(self._events)
                self._events.clear()

    def _reading(self, now: float) -> bool:
        return now - self._asked < READING_LASTS

    def _report(self, now: float) -> WorkerReport | None:
        """What there is to say of the last seconds; None if it is too soon after the last report."""
        if now - self._reported < REPORT_EVERY * 0.9:
            return None
        self._reported = now
        seconds, served = self._account.close(now)
        return WorkerReport(self.who, time.time(), seconds, served)

    def _beat(self, store: WorkerStore) -> None:
        now, loads = self._clock(), self.own_loads()
        reading, bury = self._reading(now), now - self._buried >= BURY_EVERY
        news = loads != self._beaten_with or bool(self._attempts)
        every = BEAT_EVERY if not news else BEAT_WHILE_READING_EVERY if reading else BEAT_WITH_NEWS_EVERY
        if now - self._beaten < every * 0.9:  # a little early is better than a round late
            return
        with self._lock:
            attempts, self._attempts = self._attempts, defaultdict(int)
        try:
            self._account.count(attempts)
            report = self._report(now)
            others = store.beat(self._pool, self.worker, loads, attempts, read=reading or bury, report=report)
        except StoreUnavailable:
            with self._lock:
                for backend, made in attempts.items():
                    self._attempts[backend] += made
            self._account.count({backend: -made for backend, made in attempts.items()})  # they will come again
            raise
        self._beaten, self._beaten_with = now, loads
        self.workers = others.workers
        if reading or bury:
            with self._lock:
                self._others, self._others_read, self._buried = others.loads, now, now
                self._recount()
