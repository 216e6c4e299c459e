"""Rate limits of one worker and of the whole fleet: with the store, without it, and when it is not asked at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import fakeredis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devtools.wait import in_time
from lbflask.core import rate_limit
from lbflask.core.rate_limit import MICROS, Bucket, RateLimit
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.rate_limiter import Buckets
from lbflask.store.keys import bucket as bucket_key
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import Beat, WorkerStore
from lbflask.store.redis import RedisStore
from tests.fleet.stores import FlakyStore
from tests.store.stores import ManualClock, real_redis
from tests.support.selection import examples

LIMIT = RateLimit("api", 1, 60, 4)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> FlakyStore:
    return FlakyStore(MemoryStore(clock))


def test_a_bucket_known_to_be_empty_is_not_asked_again_before_its_next_token(
    store: FlakyStore, clock: ManualClock
) -> None:
    buckets = Buckets(Fleet(store, ["default"]), clock)
    assert [buckets.take(LIMIT, "a").passed for _ in range(20)] == [True] * 4 + [False] * 16
    assert len(store.asked("take_token")) == 5
    refused = buckets.take(LIMIT, "a")
    assert (refused.left, refused.wait, refused.full_in) == (0, pytest.approx(60), pytest.approx(240))
    assert buckets.take(LIMIT, "b").passed
    clock.advance(60)
    assert [buckets.take(LIMIT, "a").passed for _ in range(3)] == [True, False, False]
    assert len(store.asked("take_token")) == 8


def test_without_the_store_each_worker_lets_its_share_pass(store: FlakyStore, clock: ManualClock) -> None:
    fleet = Fleet(store, ["default"])
    store.beat("default", "other", Beat(), read=False)
    fleet.flush()
    buckets = Buckets(fleet, clock)
    store.refuse = "take_token"
    assert [buckets.take(LIMIT, "a").passed for _ in range(4)] == [True, True, False, False]
    assert fleet.degraded
    assert len(store.asked("take_token")) == 1  # nobody waits for it a second time
    clock.advance(119)
    assert not buckets.take(LIMIT, "a").passed
    clock.advance(1)
    assert buckets.take(LIMIT, "a").passed


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[fakeredis.FakeRedis, Callable[[int], None]]]:
    """A server whose clock, in microseconds, is set by hand."""
    with fakeredis.FakeRedis() as client:
        now = [0]
        monkeypatch.setattr(time, "time", lambda: now[0] / MICROS)
        yield client, lambda micros: now.__setitem__(0, micros)


limits = st.builds(
    RateLimit,
    name=st.just("api"),
    count=st.one_of(st.integers(1, 10), st.integers(1, rate_limit.MOST_TOKENS)),
    period=st.sampled_from([1, 7, 60, 86_400]),
    burst=st.one_of(st.integers(1, 3), st.integers(1, rate_limit.MOST_TOKENS)),
)


@settings(deadline=None, max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limits, st.lists(st.integers(0, 1 << 34), max_size=12), st.integers(0, 1 << 20))
def test_the_script_counts_as_the_arithmetic_does(
    fake: tuple[fakeredis.FakeRedis, Callable[[int], None]], limit: RateLimit, moments: list[int], missing: int
) -> None:
    client, set_clock = fake
    client.flushall()
    store, key = RedisStore(client, "test"), bucket_key("test", limit, "a")
    begin = 1_700_000_000 * MICROS
    known: Bucket | None = Bucket(begin, min(missing, limit.burst) * limit.token)
    client.set(key, f"{begin} {known.missing}")
    for moment in moments:  # in any order: the clock may be set back
        # A clock in floating seconds is exact to a quarter of a microsecond: whole ones come back as they were.
        now = begin + moment
        set_clock(now)
        known, allowance = rate_limit.take(limit, known, now)
        assert store.take_token(limit, "a") == allowance
        written = cast("bytes | None", client.get(key))
        if written is not None and allowance.passed:
            assert written.decode() == f"{known.at} {known.missing}"
            left = client.pttl(key)
            assert 0 <= left * 1000 - (rate_limit.full_at(limit, known) - now) < 1000 + 1


def test_the_fleet_lets_pass_a_burst_and_what_time_brings(redis_url: str) -> None:
    limit = RateLimit("exact", 200, 1, 20)
    with real_redis(redis_url) as rig:

        def take(store: WorkerStore) -> int:
            buckets = Buckets(Fleet(store, ["default"]))
            end = time.monotonic() + 0.4
            passed = 0
            while time.monotonic() < end:
                passed += buckets.take(limit, "a").passed
            return passed

        def all_take() -> int:
            rig.empty()
            began = rig.now()
            with ThreadPoolExecutor(4) as threads:
                passed = sum(threads.map(take, [rig.store, rig.other] * 2))
            assert passed <= limit.burst + (rig.now() - began) * limit.count + 1
            return passed

        # A busy machine asks too seldom to have all of it.
        in_time(all_take, late=lambda passed: passed < limit.burst + 0.4 * limit.count * 0.5)
