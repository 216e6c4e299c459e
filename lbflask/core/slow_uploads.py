"""Uploads that hold a backend because their clients send slowly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: Seconds from which on an upload counts as slow, and the bytes per second that it has to bring meanwhile.
LEAST_SECONDS, LEAST_BYTES_PER_SECOND = 5.0, 10_000.0
#: Clients of a backend that are named.
MOST_CLIENTS = 5
#: Slow uploads of a backend, and their share of its requests in flight, from which on they matter.
LEAST_COUNT, LEAST_SHARE = 3, 0.25


@dataclass(frozen=True, slots=True)
class Uploads:
    """The uploads that hold a backend: `receiving` of them await more bytes of their clients, `slow` of these have got
    few for a while, the oldest for so many seconds; with the clients that have the most slow ones.
    """

    receiving: int = 0
    slow: int = 0
    oldest: float = 0.0
    by_client: Mapping[str, int] = field(default_factory=dict)


#: A backend without any.
NO_UPLOADS = Uploads()


def matter(slow: int, in_flight: int) -> bool:
    """Whether so many slow uploads are a large part of the requests in flight at a backend."""
    return slow >= LEAST_COUNT and slow >= LEAST_SHARE * in_flight


@dataclass(frozen=True, slots=True)
class Mark:
    """The bytes of an upload at a time after which it was slow."""

    at: float
    received: int

    def moved(self, now: float, received: int) -> Mark:
        """The mark after so many bytes have arrived in all: the same as long as they come slowly."""
        is_slow = received - self.received < LEAST_BYTES_PER_SECOND * (now - self.at)
        return self if is_slow else Mark(now, received)


def uploads_of(marks: Iterable[tuple[str, Mark]], now: float) -> Uploads:
    """The uploads at a backend, each by its client and its mark."""
    since = [(client, now - mark.at) for client, mark in marks]
    slow = [(client, seconds) for client, seconds in since if seconds >= LEAST_SECONDS]
    by_client = Counter(client for client, _ in slow).most_common(MOST_CLIENTS)
    return Uploads(len(since), len(slow), max((seconds for _, seconds in slow), default=0.0), dict(by_client))


def summed_uploads(workers: Iterable[Mapping[str, Uploads]]) -> dict[str, Uploads]:
    """The uploads of all workers together, by backend."""
    found: dict[str, Uploads] = {}
    for of_worker in workers:
        for backend, one in of_worker.items():
            before = found.get(backend, NO_UPLOADS)
            clients = Counter(before.by_client)
            clients.update(one.by_client)
            found[backend] = Uploads(
                before.receiving + one.receiving,
                before.slow + one.slow,
                max(before.oldest, one.oldest),
                dict(clients.most_common()),
            )
    return found
