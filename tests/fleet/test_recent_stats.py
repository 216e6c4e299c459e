"""A worker's account of its last seconds: whatever is kept adds up to what happened within the window, and no more."""

from __future__ import annotations

from collections import Counter
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.fleet_stats import WINDOW, BackendCounts, bucket_of
from lbflask.fleet.recent_stats import SAMPLE, SlidingStats
from lbflask.telemetry.events import AttemptEvent

BACKENDS = st.sampled_from(["a", "b", "c"])
#: What happens between two looks: attempts by backend, those that failed, responses, and the seconds until the look.
PAGES = st.lists(
    st.tuples(
        st.dictionaries(BACKENDS, st.integers(0, 9)),
        st.lists(BACKENDS, max_size=3),
        st.lists(st.tuples(BACKENDS, st.sampled_from([0.001, 0.5])), max_size=3),
        st.sampled_from([0.5, 1.0, 3.0, 20.0]),
    ),
    min_size=1,
    max_size=12,
)


@given(pages=PAGES)
def test_each_look_tells_what_the_pages_of_the_window_hold(
    pages: list[tuple[dict[str, int], list[str], list[tuple[str, float]], float]],
) -> None:
    account, now, begins = SlidingStats(0.0), 0.0, []
    for attempts, failed, responses, seconds in pages:
        account.count(attempts)
        for backend in failed:
            account.failed(backend)
        for backend, taken in responses:
            account.sample(AttemptEvent(backend=backend, seconds=taken))
        begins.append(now)
        now += seconds
        told, served = account.close(now)
        first = next((at for at, begin in enumerate(begins) if begin >= now - WINDOW * 1.05), len(begins) - 1)
        assert told == now - begins[first]
        assert served == expected(pages[first : len(begins)])


def expected(pages: list[tuple[dict[str, int], list[str], list[tuple[str, float]], float]]) -> dict[str, BackendCounts]:
    attempts, failures = Counter[str](), Counter[str]()
    buckets: dict[str, Counter[int]] = {}
    for made, failed, responses, _ in pages:
        attempts.update(made)
        failures.update(failed)
        for backend, seconds in responses:
            buckets.setdefault(backend, Counter())[bucket_of(seconds)] += 1
    return {
        backend: BackendCounts(attempts[backend], failures[backend], buckets.get(backend, {}))
        for backend in {*(+attempts), *failures, *buckets}
    }


def test_what_is_taken_back_was_never_counted() -> None:
    """Attempts that could not be told are counted when they are."""
    account = SlidingStats(0.0)
    account.count({"a": 3})
    account.close(1.0)
    account.count({"a": -3})
    assert account.close(2.0) == (2.0, {})


def test_latencies_are_those_of_the_last_responses_before_a_look() -> None:
    account = SlidingStats(0.0)
    for _ in range(SAMPLE):
        account.sample(AttemptEvent(backend="a", seconds=0.001))
    for _ in range(SAMPLE - 1):
        account.sample(AttemptEvent(backend="a", seconds=1.0))
    _, served = account.close(1.0)
    assert served["a"].buckets == {bucket_of(0.001): 1, bucket_of(1.0): SAMPLE - 1}


def test_the_delay_of_second_attempts_is_that_of_the_latest_seconds() -> None:
    account = SlidingStats(0.0)
    assert account.hedge_delay(0.95) == inf
    for _ in range(95):
        account.sample(AttemptEvent(backend="a", seconds=0.05))
    for _ in range(5):
        account.sample(AttemptEvent(backend="b", seconds=1.0))
    account.close(1.0)
    assert 0.05 <= account.hedge_delay(0.95) < 0.07
    assert 1.0 <= account.hedge_delay(0.99) < 1.3
    account.close(1.0 + 3 * WINDOW)
    account.close(1.0 + 6 * WINDOW)
    assert account.hedge_delay(0.95) == inf
