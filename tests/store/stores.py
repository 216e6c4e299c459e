"""Every store behind one set of handles, so that one suite can hold all of them to the same promises."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import fakeredis
import redis

from devtools.wait import PATIENCE, eventually
from lbflask.store.memory import MemoryStore
from lbflask.store.redis import RedisStore, connect

Store = MemoryStore | RedisStore


@dataclass
class Rig:
    """A store, another client of the same facts, and what a test can do to both."""

    store: Store
    other: Store
    now: Callable[[], float]  #: the store's clock
    let_pass: Callable[[float], None]  #: so many seconds of the store's clock pass
    empty: Callable[[], None]  #: all facts are lost
    client: redis.Redis | None = None


@dataclass
class ManualClock:
    """Seconds since the epoch, moved by hand."""

    time: float = field(default=1_700_000_000.0)

    def __call__(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds


@contextmanager
def memory() -> Iterator[Rig]:
    clock = ManualClock()
    store = MemoryStore(clock)
    yield Rig(store, store, clock, clock.advance, store.empty)


@contextmanager
def fake_redis() -> Iterator[Rig]:
    server = fakeredis.FakeServer()
    with fakeredis.FakeRedis(server=server) as one, fakeredis.FakeRedis(server=server) as two:
        yield _over(one, two, time.time)


@contextmanager
def real_redis(url: str) -> Iterator[Rig]:
    with connect(url, PATIENCE) as one, connect(url, PATIENCE) as two:

        def now() -> float:
            seconds, micros = one.time()
            return seconds + micros / 1_000_000

        yield _over(one, two, now)


def _over(one: redis.Redis, two: redis.Redis, now: Callable[[], float]) -> Rig:
    def let_pass(seconds: float) -> None:
        end = now() + seconds
        eventually(lambda: now() > end, f"{seconds:g} s pass on the server", seconds + PATIENCE)

    def empty() -> None:
        one.flushall()

    return Rig(RedisStore(one, "test"), RedisStore(two, "test"), now, let_pass, empty, one)
