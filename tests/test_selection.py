"""Which tests run by default, with --long and with --all."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.support.selection import Extent, first_of, left_out


@dataclass(frozen=True, eq=False)
class FakeTest:
    """A collected test with one marker."""

    nodeid: str
    mark: pytest.MarkDecorator | None = None

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        return self.mark.mark if self.mark is not None and self.mark.name == name else None


def running(tests: list[FakeTest], extent: Extent) -> list[str]:
    out = left_out(tests, extent)
    return [test.nodeid for test in tests if test not in out]


@pytest.mark.parametrize(
    ("extent", "expected"),
    [(Extent.QUICK, ["a"]), (Extent.LONG, ["a", "b"]), (Extent.ALL, ["a", "b", "c"])],
)
def test_long_tests_run_with_long_and_thorough_ones_with_all(extent: Extent, expected: list[str]) -> None:
    tests = [FakeTest("a"), FakeTest("b", pytest.mark.long), FakeTest("c", pytest.mark.thorough)]
    assert running(tests, extent) == expected


@pytest.mark.parametrize(
    ("numbers", "extent", "expected"),
    [
        ((3,), Extent.QUICK, [0, 3, 6]),
        ((3,), Extent.LONG, [0, 3, 6]),
        ((4, 2), Extent.QUICK, [0, 4]),
        ((4, 2), Extent.LONG, [0, 2, 4, 6]),
        ((4, 2), Extent.ALL, [*range(7)]),
    ],
)
def test_of_each_sampled_test_one_member_in_so_many_runs(
    numbers: tuple[int, ...], extent: Extent, expected: list[int]
) -> None:
    mark = pytest.mark.sampled(*numbers)
    tests = [FakeTest(f"{name}[{number}]", mark) for number in range(7) for name in ("a", "b")]
    assert running(tests, extent) == [f"{name}[{number}]" for number in expected for name in ("a", "b")]


def test_a_member_that_does_not_run_is_not_counted_in_a_sample() -> None:
    class Both(FakeTest):
        def get_closest_marker(self, name: str) -> pytest.Mark | None:
            return {"long": pytest.mark.long.mark, "sampled": pytest.mark.sampled(2).mark}.get(name)

    tests: list[FakeTest] = [Both("a[0]"), *(FakeTest(f"a[{number}]", pytest.mark.sampled(2)) for number in (1, 2))]
    assert running(tests, Extent.QUICK) == ["a[1]"]


def test_the_first_members_run_always() -> None:
    one, *others = first_of(["own", "gevent", "sync"])
    assert one == "own"
    assert [(other.values, [mark.name for mark in other.marks]) for other in others] == [
        (("gevent",), ["long"]),
        (("sync",), ["long"]),
    ]
    assert first_of("ab", quick=2) == ["a", "b"]
