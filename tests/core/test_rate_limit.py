"""The arithmetic of token buckets: what passes, when the next may, and what a client is told."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbflask.core.rate_limit import (
    MICROS,
    Allowance,
    Bucket,
    RateLimit,
    full_at,
    of_client,
    policy_field,
    state_item,
    take,
)
from tests.support.changes import property_test

NOW = 1_700_000_000 * MICROS

limits = st.builds(
    RateLimit,
    name=st.just("api"),
    count=st.integers(1, 1000),
    period=st.sampled_from([1, 2, 10, 60, 3600]),
    burst=st.integers(1, 20),
)
#: Microseconds between two requests.
gaps = st.lists(
    st.one_of(st.integers(0, 100), st.integers(0, 3_000_000), st.integers(0, 4 * 3600 * MICROS)), max_size=40
)


class Naive:
    """A bucket as the books have it: tokens that are added as time passes, in fractions."""

    def __init__(self, limit: RateLimit, now: int) -> None:
        self.limit, self.now, self.tokens = limit, now, Fraction(limit.burst)

    def take(self, now: int) -> bool:
        gained = Fraction((now - self.now) * self.limit.count, self.limit.period * MICROS)
        self.tokens, self.now = min(Fraction(self.limit.burst), self.tokens + gained), now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@given(limits, gaps)
def test_it_lets_pass_what_a_bucket_of_the_books_does(limit: RateLimit, gaps: list[int]) -> None:
    naive, bucket, now = Naive(limit, NOW), None, NOW
    for gap in gaps:
        now += gap
        bucket, allowance = take(limit, bucket, now)
        assert allowance.passed == naive.take(now)
        assert allowance.left == int(naive.tokens)


@settings(deadline=None)
@given(limits, gaps)
def test_no_stretch_of_time_lets_more_pass_than_a_burst_and_what_it_brings(limit: RateLimit, gaps: list[int]) -> None:
    bucket, now, passed = None, NOW, []
    for gap in gaps:
        now += gap
        bucket, allowance = take(limit, bucket, now)
        passed += [now] if allowance.passed else []
    for first, begin in enumerate(passed):
        for last in range(first, len(passed)):
            brought = Fraction((passed[last] - begin) * limit.count, limit.period * MICROS)
            assert last - first + 1 <= limit.burst + brought


@given(limits, gaps)
def test_whoever_waits_as_long_as_it_says_passes_and_not_a_microsecond_earlier(
    limit: RateLimit, gaps: list[int]
) -> None:
    bucket, now = None, NOW
    for gap in gaps:
        now += gap
        bucket, allowance = take(limit, bucket, now)
    while True:
        bucket, allowance = take(limit, bucket, now)
        if not allowance.passed:
            break
    exactly = -int(-allowance.wait * MICROS // 1)
    assert take(limit, bucket, now + exactly + 1)[1].passed
    assert not take(limit, bucket, now + max(0, exactly - 2))[1].passed


@given(limits, st.integers(1, 30))
def test_a_bucket_is_full_when_it_says_so(limit: RateLimit, requests: int) -> None:
    bucket = None
    for _ in range(requests):
        bucket, allowance = take(limit, bucket, NOW)
    assert bucket is not None
    moment = full_at(limit, bucket)
    assert moment - NOW == pytest.approx(allowance.full_in * MICROS, abs=1)
    _, full = take(limit, bucket, moment)
    assert full == take(limit, None, moment)[1]


def test_a_token_has_as_many_units_as_a_period_has_microseconds() -> None:
    assert RateLimit("api", 5, 2, 1).token == 2_000_000


def test_nobody_waits_for_a_token_that_is_there() -> None:
    limit, bucket, waits = RateLimit("api", 1, 1, 3), None, []
    for _ in range(3):
        bucket, allowance = take(limit, bucket, NOW)
        waits.append(allowance.wait)
    assert waits == [0, 0, 1]


def test_a_refused_request_takes_nothing() -> None:
    limit = RateLimit("api", 1, 10, 1)
    bucket, _ = take(limit, None, NOW)
    again, allowance = take(limit, bucket, NOW + 1)
    assert again == bucket
    assert allowance == Allowance(False, 0, pytest.approx(9.999999), pytest.approx(9.999999))


def test_a_clock_that_was_set_back_adds_no_token_and_the_bucket_fills_from_there_on() -> None:
    limit = RateLimit("api", 1, 1, 2)
    bucket, _ = take(limit, None, NOW)
    bucket, second = take(limit, bucket, NOW - 5 * MICROS)
    assert second.passed
    assert bucket == Bucket(NOW - 5 * MICROS, 2 * limit.token)
    assert not take(limit, bucket, NOW - 5 * MICROS)[1].passed
    assert take(limit, bucket, NOW - 4 * MICROS)[1].passed


def test_a_refused_request_does_not_keep_a_bucket_from_filling_after_the_clock_was_set_back() -> None:
    limit = RateLimit("api", 1, 1, 1)
    bucket, _ = take(limit, None, NOW)
    bucket, refused = take(limit, bucket, NOW - 500 * MICROS)
    assert not refused.passed
    assert take(limit, bucket, NOW - 499 * MICROS)[1].passed


def test_what_the_largest_limit_counts_fits_into_a_double() -> None:
    largest = RateLimit("api", 100_000, 86_400, 100_000)
    assert largest.burst * largest.token + largest.token < 2**53


def test_a_share_of_several_workers_is_slower_and_smaller_but_something() -> None:
    assert RateLimit("api", 100, 60, 10).shared_by(4) == RateLimit("api", 100, 240, 2)
    assert RateLimit("api", 100, 60, 1).shared_by(4).burst == 1


@pytest.mark.parametrize(
    ("address", "whom"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("unix:", "unix:"),
        ("", ""),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no:address", "no:address"),
    ],
)
def test_an_ipv6_client_stands_for_its_network(address: str, whom: str) -> None:
    assert of_client(address) == whom


def test_clients_are_told_in_the_fields_of_the_draft() -> None:
    limits = [RateLimit("api", 100, 60, 20), RateLimit("all", 5, 1, 5)]
    assert policy_field(limits) == '"api";q=100;w=60, "all";q=5;w=1'
    assert state_item(limits[0], Allowance(True, 19, 0.0, 0.6)) == '"api";r=19;t=1'
    assert state_item(limits[0], Allowance(True, 0, 0.6, 12.0)) == '"api";r=0;t=1'
    assert state_item(limits[0], Allowance(False, 0, 1.2, 13.0)) == '"api";r=0;t=2'


def test_a_full_bucket_is_full_from_the_moment_on_that_its_units_need() -> None:
    limit = RateLimit("api", count=3, period=1, burst=2)
    assert full_at(limit, Bucket(NOW, 0)) == NOW
    assert full_at(limit, Bucket(NOW, 7)) == NOW + 3  # seven thirds of a microsecond, rounded up


test_any_text_is_the_address_that_the_system_reads = property_test("address")
