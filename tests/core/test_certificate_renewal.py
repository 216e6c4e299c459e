"""When certificates are renewed, and how orders that fail back off."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core import certificate_renewal as renewal
from lbflask.core.certificate_renewal import (
    HOUR,
    LONGEST_PAUSE,
    LONGEST_RETRY_AFTER,
    MAX_TRIES_PER_HOUR,
    NO_ATTEMPTS,
    OrderAttempts,
    Period,
    next_try,
    next_window_check,
    renewal_moment,
    resumption,
    spread,
    with_failure,
    with_success,
    with_try,
)

NOW = 1_800_000_000.0
DAY = 86_400.0
NAMES = st.text(min_size=1, max_size=60)
TIMES = st.floats(0, 4e9)


@given(NAMES)
def test_a_name_has_one_place_between_nought_and_one(name: str) -> None:
    assert 0 <= spread(name) < 1
    assert spread(name) == spread(name)


def test_names_are_spread_evenly() -> None:
    tenths = [int(spread(f"{number}.example") * 10) for number in range(1000)]
    assert all(60 <= tenths.count(tenth) <= 140 for tenth in range(10))


@given(NAMES, TIMES, st.floats(0, 1e8))
def test_without_a_window_it_is_after_two_thirds_of_the_lifetime(name: str, begins: float, lifetime: float) -> None:
    moment = renewal_moment(name, Period(begins, begins + lifetime))
    assert begins + lifetime * 0.66 <= moment + 1 <= begins + lifetime * 0.71 + 2


def test_ninety_days_are_renewed_from_the_sixtieth_to_the_sixty_third() -> None:
    moments = [renewal_moment(f"{number}.example", Period(NOW, NOW + 90 * DAY)) for number in range(1000)]
    assert NOW + 60 * DAY <= min(moments) < NOW + 60.2 * DAY
    assert NOW + 62.8 * DAY < max(moments) < NOW + 63 * DAY


@given(NAMES, TIMES, st.floats(0, 1e7))
def test_a_window_decides(name: str, begins: float, length: float) -> None:
    window = Period(begins, begins + length)
    assert window.begins <= renewal_moment(name, Period(0, 9e9), window) <= window.ends


def test_it_is_never_after_the_end_whatever_the_authority_suggests() -> None:
    validity = Period(NOW, NOW + DAY)
    assert renewal_moment("a.example", validity, Period(NOW + 9 * DAY, NOW + 10 * DAY)) == NOW + DAY
    assert renewal_moment("a.example", Period(NOW, NOW - DAY)) == NOW - DAY


def test_a_window_that_ends_before_it_begins_is_ignored() -> None:
    validity = Period(NOW, NOW + 90 * DAY)
    assert renewal_moment("a.example", validity, Period(NOW + 2, NOW + 1)) == renewal_moment("a.example", validity)
    assert renewal_moment("a.example", validity, Period(NOW + 2, NOW + 2)) == NOW + 2


@pytest.mark.parametrize(
    ("retry_after", "pause"), [(None, 21_600), (3600.0, 3600), (0.0, 60), (-5.0, 60), (1e9, 86_400)]
)
def test_the_window_is_asked_for_at_bounded_intervals(retry_after: float | None, pause: float) -> None:
    assert next_window_check(NOW, retry_after) == NOW + pause


def test_the_first_order_begins_at_once() -> None:
    assert next_try(NO_ATTEMPTS, NOW) == resumption(NO_ATTEMPTS, NOW) == NOW


def test_pauses_double_up_to_the_longest() -> None:
    attempts, pauses = NO_ATTEMPTS, []
    for _ in range(60):
        attempts = with_failure("a.example", attempts, NOW, "refused")
        pauses.append(attempts.resumes - NOW)
    assert 60 <= pauses[0] < 75
    assert all(later == pytest.approx(min(2 * earlier, pauses[-1])) for earlier, later in pairwise(pauses))
    assert LONGEST_PAUSE <= pauses[-1] < LONGEST_PAUSE * 1.25
    assert (attempts.failures, attempts.reason) == (60, "refused")


def test_names_that_fail_together_do_not_come_back_together() -> None:
    resumes = {with_failure(f"{number}.example", NO_ATTEMPTS, NOW, "").resumes for number in range(100)}
    assert len(resumes) == 100
    assert max(resumes) - min(resumes) > 10


@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [(1.0, 60, 75), (7200.0, 7200, 7200), (1e12, LONGEST_RETRY_AFTER, LONGEST_RETRY_AFTER)],
)
def test_retry_after_makes_a_pause_longer_within_a_bound(retry_after: float, least: float, most: float) -> None:
    attempts = with_failure("a.example", NO_ATTEMPTS, NOW, "", retry_after)
    assert least <= attempts.resumes - NOW <= most
    assert next_try(attempts, NOW) == resumption(attempts, NOW) == attempts.resumes


def test_no_more_than_so_many_orders_begin_within_an_hour() -> None:
    attempts, now = NO_ATTEMPTS, NOW
    begun = []
    for _ in range(20):
        now = next_try(attempts, now)
        attempts = with_try(attempts, now)
        begun.append(now)
        now += 1
    assert begun[:MAX_TRIES_PER_HOUR] == [NOW + number for number in range(MAX_TRIES_PER_HOUR)]
    assert all(late - early >= HOUR for early, late in zip(begun, begun[MAX_TRIES_PER_HOUR:], strict=False))
    assert len(attempts.tries) == MAX_TRIES_PER_HOUR


def test_an_order_that_has_begun_goes_on_whatever_the_number_of_orders() -> None:
    attempts = OrderAttempts(tuple(NOW - number for number in range(MAX_TRIES_PER_HOUR)))
    assert resumption(attempts, NOW) == NOW
    assert next_try(attempts, NOW) == NOW - (MAX_TRIES_PER_HOUR - 1) + HOUR


def test_one_order_less_than_the_limit_leaves_the_next_one_free() -> None:
    attempts = OrderAttempts(tuple(NOW - number for number in range(MAX_TRIES_PER_HOUR - 1)))
    assert next_try(attempts, NOW) == NOW
    assert with_try(attempts, NOW).tries == (*sorted(attempts.tries), NOW)


def test_orders_of_a_clock_that_was_set_back_do_not_count() -> None:
    ahead = OrderAttempts((NOW + 1, NOW + 2, NOW + 3, NOW + 4), 1, "", NOW + 10 * LONGEST_RETRY_AFTER)
    assert next_try(ahead, NOW) == NOW + LONGEST_RETRY_AFTER
    assert with_try(ahead, NOW).tries == (NOW,)


def test_orders_of_an_hour_ago_do_not_count() -> None:
    old = OrderAttempts(tuple(NOW - HOUR for _ in range(MAX_TRIES_PER_HOUR)))
    assert next_try(old, NOW) == NOW
    assert with_try(old, NOW).tries == (NOW,)


def test_a_try_keeps_what_is_known_of_failures_and_a_success_forgets_it() -> None:
    failed = with_failure("a.example", with_try(NO_ATTEMPTS, NOW), NOW, "refused")
    again = with_try(failed, failed.resumes)
    assert (again.failures, again.reason, again.resumes) == (1, "refused", failed.resumes)
    assert with_success(again) == OrderAttempts(again.tries)


def test_the_numbers_are_below_the_limits_of_authorities() -> None:
    assert renewal.MAX_TRIES_PER_HOUR < 5  # failed validations of a name an hour at Let's Encrypt
