"""What a worker's clients got in the last seconds, and which of them make the most requests: an event sink that counts
in the background.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lbflask.core.answers import AnswerCause, AnswerKey, Answers, bounded
from lbflask.core.client_shares import ClientCounts
from lbflask.core.fleet_stats import WINDOW
from lbflask.core.heavy_hitters import HeavyHitters, frequent
from lbflask.telemetry.event_queue import TimedEvent
from lbflask.telemetry.events import RequestEvent

#: Seconds that are counted together.
PART = 1.0
#: Full parts by which clients are judged: half of the window, since the share of one that begins now grows with time.
CLIENT_PARTS = 5
#: Limit of the answers that wait to be counted, of those that have no event.
MAX_PENDING = 50_000


@dataclass(slots=True)
class _Part:
    since: float
    counts: Counter[AnswerKey] = field(default_factory=Counter)
    clients: HeavyHitters = field(default_factory=HeavyHitters)
    refused: HeavyHitters = field(default_factory=HeavyHitters)


def _backend_key(status: int) -> AnswerKey:
    return AnswerKey(f"{status // 100}xx", AnswerCause.BACKEND.value)


class RecentAnswers:
    """Counts answers over the last WINDOW seconds, by the steady `clock`. Threads and greenlets may share it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._parts: deque[_Part] = deque([_Part(clock())])
        self._sum: Counter[AnswerKey] = Counter()
        self._clients = self._refused = ClientCounts()
        pending: deque[tuple[int | AnswerKey, str]] = deque(maxlen=MAX_PENDING)
        self._pending = pending
        #: Takes the status of a backend's response that was passed on whole, or the key of another answer, with its
        #: client. The cheapest way: it makes no event.
        self.note_answer: Callable[[tuple[int | AnswerKey, str]], None] = pending.append

    def __repr__(self) -> str:
        return f"<RecentAnswers {dict(self._sum)}>"

    def note(self, event: RequestEvent) -> None:
        """Count the answer of an event that no queue passes on."""
        self._pending.append((event.answer, event.client))

    def consume(self, batch: Sequence[TimedEvent]) -> None:
        """See EventSink."""
        queued: list[tuple[int | AnswerKey, str]] = [
            (event.status if event.cause is AnswerCause.BACKEND else event.answer, event.client) for event, _ in batch
        ]
        with self._lock:
            noted = [*queued, *(self._pending.popleft() for _ in range(len(self._pending)))]
            counted, limited = Counter[AnswerKey](), set[int | AnswerKey]()
            for answer, count in Counter([answer for answer, _ in noted]).items():
                key = _backend_key(answer) if isinstance(answer, int) else answer
                counted[key] += count
                if key.cause == AnswerCause.RATE_LIMIT:
                    limited.add(answer)
            self._advance(self._clock())
            present = self._parts[-1]
            present.counts.update(counted)
            # Lists, which are counted in C: one for each distinct client costs more than all else.
            present.clients.update([client for answer, client in noted if answer not in limited])
            if limited:
                present.refused.update([client for answer, client in noted if answer in limited])
            self._sum.update(counted)

    def dropped(self, count: int) -> None:
        """See EventSink: their causes are unknown, and metrics count them."""

    def latest(self) -> Answers:
        """The answers of the last seconds."""
        self.consume(())
        with self._lock:
            return Answers(self._clock() - self._parts[0].since, bounded(self._sum))

    @property
    def clients(self) -> ClientCounts:
        """The requests of the latest full parts by client, without those that a rate limit refused."""
        return self._clients

    @property
    def refused_clients(self) -> ClientCounts | None:
        """The same for requests that rate limits refused; None for none."""
        return self._refused if self._refused.total else None

    def _advance(self, now: float) -> None:
        """Begin a part when the present one is over, and forget those before the window."""
        parts = self._parts
        if now - parts[-1].since < PART:
            return
        parts.append(_Part(now))
        while len(parts) > 1 and parts[0].since < now - WINDOW * 1.05:
            for key, count in parts.popleft().counts.items():
                self._sum[key] -= count
                if not self._sum[key]:
                    del self._sum[key]
        judged = list(parts)[-1 - CLIENT_PARTS : -1]
        seconds = now - judged[0].since if judged else 0.0
        self._clients = ClientCounts(seconds, *frequent(part.clients for part in judged))
        self._refused = ClientCounts(seconds, *frequent(part.refused for part in judged))
