from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lbflask.checker.due_queue import DueQueue


def test_nobody_is_due_on_an_empty_schedule() -> None:
    queue = DueQueue()
    assert queue.next_due() is None
    assert queue.pop_due(1e9) is None


def test_the_earliest_comes_first_and_only_when_it_is_due() -> None:
    queue = DueQueue()
    queue.put("late", 5)
    queue.put("early", 3)
    assert queue.next_due() == 3
    assert queue.pop_due(2) is None
    assert queue.pop_due(4) == ("early", 1)
    assert queue.pop_due(4) is None
    assert queue.pop_due(5) == ("late", 0)
    assert queue.next_due() is None


def test_those_of_one_moment_come_in_the_order_in_which_they_were_put() -> None:
    queue = DueQueue()
    for name in "cab":
        queue.put(name, 1)
    assert [queue.pop_due(1) for _ in range(3)] == [("c", 0), ("a", 0), ("b", 0)]


def test_a_new_moment_takes_the_place_of_the_old_one() -> None:
    queue = DueQueue()
    queue.put("a", 1)
    queue.put("a", 9)
    assert queue.pop_due(8) is None
    queue.put("a", 2)
    assert queue.pop_due(8) == ("a", 6)
    assert queue.pop_due(100) is None


@given(st.lists(st.one_of(st.tuples(st.sampled_from("abcde"), st.integers(0, 20)), st.integers(0, 25)), max_size=60))
def test_it_does_what_a_table_of_moments_does(steps: list[tuple[str, int] | int]) -> None:
    queue, table, put = DueQueue(), dict[str, tuple[int, int]](), 0
    for step in steps:
        if isinstance(step, tuple):
            put += 1
            queue.put(*step)
            table[step[0]] = (step[1], put)
        else:
            due = [(moment, name) for name, moment in table.items() if moment[0] <= step]
            expected = (min(due)[1], step - min(due)[0][0]) if due else None
            assert queue.pop_due(step) == expected
            if expected:
                del table[expected[0]]
        assert queue.next_due() == (min(table.values())[0] if table else None)
