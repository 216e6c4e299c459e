"""Which client makes most of the requests of the fleet, judged by reports of workers that can be added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: Share of the requests from which on a client dominates.
LEAST_SHARE = 0.5
#: Requests per second below which a client is no burden: one person who opens a page may make as many.
LEAST_RATE = 10.0
#: So many times the requests of the next client, since two proxies in front may have half of the traffic each.
FACTOR = 1.6
#: Requests per second of all others together below which the client is the only one, such as a proxy in front.
LEAST_OTHERS = 0.5


@dataclass(frozen=True, slots=True)
class ClientCounts:
    """The requests of a worker in its last `seconds` that no rate limit has refused, and those of its frequent clients
    by address. Addresses are those of the access log.
    """

    seconds: float = 0.0
    total: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClientRates:
    """Requests per second: of all clients, and of the frequent ones by address, the busiest first."""

    total: float
    by_client: Mapping[str, float]


def client_rates(workers: Iterable[ClientCounts]) -> ClientRates:
    """The requests per second of all workers together."""
    total, rates = 0.0, dict[str, float]()
    for one in workers:
        seconds = max(1.0, one.seconds)
        total += one.total / seconds
        for client, count in one.counts.items():
            rates[client] = rates.get(client, 0.0) + count / seconds
    return ClientRates(total, dict(sorted(rates.items(), key=lambda item: (-item[1], item[0]))))


def dominant(rates: ClientRates) -> str | None:
    """The client that makes most of the requests; None if there is none, or no other."""
    if not rates.by_client:
        return None
    client, *_ = rates.by_client
    rate, *others = rates.by_client.values()
    dominates = rate >= LEAST_SHARE * rates.total and rate >= FACTOR * max(others, default=0.0)
    return client if dominates and rate >= LEAST_RATE and rates.total - rate >= LEAST_OTHERS else None
