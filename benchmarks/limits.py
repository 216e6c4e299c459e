"""The cost of limits for a request: the hot path of benchmarks.hot_path without limits and with them, in µs.

Slots and tokens are taken from a private Valkey. A slot that the worker already holds costs no trip; a token costs one,
unless the worker has noted that the bucket is empty.

    python -m benchmarks.limits [--json FILE]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmarks.harness import bench
from benchmarks.hot_path import Rig, micros
from devtools.report import conclude, options, table
from lbflask.core.http.request_key import RequestKey
from lbflask.core.rate_limit import RateLimit
from lbflask.core.slots import QueuePolicy
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.rate_limiter import Buckets
from lbflask.fleet.slot_renewer import Slots
from lbflask.proxy.balancer import PoolBalancer
from lbflask.proxy.rate_limits import RateLimits
from lbflask.proxy.slot_queue import SlotQueue
from lbflask.store.redis import RedisStore, connect

POOL = "default"
#: The first rejects no request during the measurement, the second all but one.
GENEROUS = RateLimit("generous", 100_000, 1, 100_000)
EMPTY = RateLimit("empty", 1, 86_400, 1)


def rig_with_bounds(slots: Slots) -> Rig:
    """Every backend has a bound that is not reached."""
    rig = Rig(0)
    dispatcher = rig.plane.front.handler
    pool = dispatcher.balancer.pool
    backends = tuple(replace(backend, max_connections=100) for backend in pool.backends)
    dispatcher.balancer = PoolBalancer(replace(pool, backends=backends), rig.fleet)
    dispatcher.attempts.slot_queue = SlotQueue(slots.of(POOL), rig.fleet.traffic(POOL), QueuePolicy(), lambda: 0.0)
    return rig


def rig_with(limit: RateLimit, buckets: Buckets) -> Rig:
    """All requests have this limit, by client."""
    rig = Rig(0)
    rig.plane.front.handler._rate_limits = RateLimits([(limit, RequestKey("client"))], buckets.take)
    return rig


def steps(fleet: Fleet, alone: Fleet, slots: Slots) -> dict[str, Callable[[], Any]]:
    """What there is to time: with the store, and what it is like without."""
    bounded, buckets, pool_slots = rig_with_bounds(slots), Buckets(fleet), slots.of(POOL)
    backend = replace(bounded.plane.front.handler.balancer.pool.backends[0], id="another")

    def take_and_let_go() -> None:
        pool_slots.take(backend)
        pool_slots.release(backend.id)

    return {
        "all of it, without limits": Rig(0).serve,
        "the same, max_connections": bounded.serve,
        "the same, a rate limit": rig_with(GENEROUS, buckets).serve,
        "the same, a rate limit, without the store": rig_with(GENEROUS, Buckets(alone)).serve,
        "refused by a rate limit": rig_with(EMPTY, buckets).serve,
        "a slot at hand, and back": take_and_let_go,
        "a token, from the store": lambda: buckets.take(GENEROUS, "a"),
    }


def main() -> None:
    given = options(__doc__, "limits").parse_args()
    rounds = 10 if given.quick else 50
    with bench() as place:
        fleet = Fleet(RedisStore(connect(place.redis_url), "bench"), [POOL])
        alone = Fleet(RedisStore(connect("redis://127.0.0.1:1/0"), "bench"), [POOL])
        slots = Slots(fleet)
        found = {name: micros(step, rounds) for name, step in steps(fleet, alone, slots).items()}
        slots.stop()
    print(table(["", "µs"], [[name, f"{cost:.1f}"] for name, cost in found.items()]), end="\n\n")
    conclude(given, [], found)


if __name__ == "__main__":
    main()
