"""The counts of frequent items against exact ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.heavy_hitters import CAPACITY, PRUNED_FROM, HeavyHitters, frequent

#: Runs of rare items, each once, and of some that repeat.
PARTS = st.lists(
    st.one_of(
        st.tuples(st.just("rare"), st.integers(1, 2000)),
        st.tuples(st.sampled_from("abc"), st.integers(1, 3000)),
    ),
    max_size=12,
)


def each(counts: dict[str, int]) -> list[str]:
    """The items, each so many times."""
    return list(Counter(counts).elements())


def streams(parts: Iterable[tuple[str, int]], batch: int, first: int = 0) -> tuple[HeavyHitters, Counter[str]]:
    """The counts of items in batches, and the exact ones."""
    found, exact = HeavyHitters(), Counter[str]()
    items: list[str] = []
    for name, count in parts:
        items += [f"r{first + len(items) + number}" for number in range(count)] if name == "rare" else [name] * count
    for begin in range(0, len(items), batch):
        found.update(items[begin : begin + batch])
    exact.update(items)
    return found, exact


def largest(exact: Counter[str], counts: dict[str, int]) -> int:
    """By how much a count is too low at most."""
    return max((exact[item] - counts.get(item, 0) for item in exact), default=0)


@given(PARTS, st.sampled_from([1, 128, 5000]))
def test_no_count_is_too_high_and_each_is_within_the_bound(parts: list[tuple[str, int]], batch: int) -> None:
    found, exact = streams(parts, batch)
    counts = found.frequent()
    assert found.total == exact.total()
    assert all(count <= exact[item] for item, count in counts.items())
    assert largest(exact, counts) <= found.total / CAPACITY
    assert {item for item in exact if exact[item] * CAPACITY >= found.total} <= counts.keys()
    assert len(counts) < 40


@given(st.lists(PARTS, max_size=4))
def test_counts_of_several_streams_add_up(several: list[list[tuple[str, int]]]) -> None:
    made = [streams(parts, 100, 100_000 * number) for number, parts in enumerate(several)]
    total, counts = frequent(found for found, _ in made)
    exact = sum((one for _, one in made), Counter[str]())
    assert total == exact.total()
    assert len(counts) <= CAPACITY
    for item, count in counts.items():
        assert 0 <= exact[item] - count <= total / CAPACITY


def test_few_items_have_exact_counts() -> None:
    found = HeavyHitters()
    found.update(each({"a": 5, "b": 1}))
    found.update(each({"a": 2}))
    assert found.frequent() == {"a": 7, "b": 1}
    assert repr(found) == "<HeavyHitters 2 of 8>"


def test_memory_is_bounded_and_an_item_that_comes_late_is_found() -> None:
    found = HeavyHitters()
    for number in range(20 * PRUNED_FROM):
        found.update(each({f"r{number}": 1}))
    assert int(repr(found).split()[1]) < PRUNED_FROM
    for _ in range(1000):
        found.update(each({"late": 1}))
    assert found.frequent() == {"late": 1000}


def test_rare_items_are_forgotten_from_1024_on() -> None:
    found = HeavyHitters()
    found.update(each({f"r{number}": 1 for number in range(1023)}))
    assert repr(found) == "<HeavyHitters 1023 of 1023>"
    found.update(each({"one more": 1}))
    assert repr(found) == "<HeavyHitters 0 of 1024>"


def test_256_are_kept_and_lose_what_the_first_forgotten_one_has() -> None:
    found = HeavyHitters()
    found.update(each({f"i{number}": number for number in range(1, 1024)} | {"most": 1_000_000}))
    assert repr(found).startswith("<HeavyHitters 256 of ")
    assert found.frequent() == {"most": 1_000_000 - (1024 - 256)}


def test_an_item_is_frequent_that_may_have_a_32nd_of_all() -> None:
    found = HeavyHitters()
    found.update(each({"enough": 2250, "too few": 2249, "most": 320 * 257 - 2250 - 2249}))
    assert found.frequent().keys() == {"enough", "most"}


def test_of_several_streams_the_32_most_frequent_items_are_known() -> None:
    streams = [HeavyHitters() for _ in range(3)]
    for number, stream in enumerate(streams):
        stream.update(each({f"{number}.{item}": 10 for item in range(20)} | {"common": 11}))
    total, counts = frequent(streams)
    assert total == 633
    assert counts["common"] == 33
    assert len(counts) == 32


def test_no_stream_has_no_items() -> None:
    assert HeavyHitters().frequent() == {}
    assert frequent([]) == (0, {})
    assert frequent([HeavyHitters()]) == (0, {})
