"""The board on which workers note how many connections they hold, and what each accepts."""

from __future__ import annotations

import operator
import random
import subprocess
import sys

import pytest

from devtools.servers import ROOT
from devtools.wait import PATIENCE, eventually
from lbflask.server.worker.connection_balance import MAX_WORKERS, SLACK, UNLIMITED, ConnectionTable, fill_level


def others_hold_less(board: ConnectionTable, worker: int, connections: int) -> bool:
    """Whether the worker leaves a single connection to others."""
    return board.share(worker, connections, 1) == 0


def test_a_worker_alone_accepts_all() -> None:
    board = ConnectionTable(PATIENCE)
    assert board.share(1, 1000, 5) == UNLIMITED
    board.write(1, 3)
    assert board.share(1, 1000, 5) == UNLIMITED


@pytest.mark.parametrize("held", [[0, 0], [7, 7], [9, 3], [0, 100], [5, 2, 0], [4, 4, 4, 90], [3, 1, 4, 1, 5, 9, 2, 6]])
@pytest.mark.parametrize("pending", [1, 2, 7, 128])
def test_workers_that_take_their_shares_in_any_order_end_as_equal_as_they_can(held: list[int], pending: int) -> None:
    """As if each connection had gone to a worker with the fewest."""
    expected = list(held)
    for _ in range(pending):
        expected[expected.index(min(expected))] += 1
    board, now, left = ConnectionTable(PATIENCE), list(held), pending
    for worker, connections in enumerate(now):
        board.write(worker + 1, connections)
    for worker in random.Random(pending).sample(range(len(now)), len(now)):
        if left:
            taken = min(left, board.share(worker + 1, now[worker], left))
            now[worker] += taken
            left -= taken
            board.write(worker + 1, now[worker])
    assert left == 0
    assert max(map(operator.sub, sorted(now), sorted(expected))) <= SLACK


def test_all_pending_connections_are_below_the_level() -> None:
    assert fill_level([0, 0], 128) == 64
    assert fill_level([0, 0, 100], 5) == 3
    assert fill_level([90, 100], 5) == 95
    assert fill_level([2, 9, 5], 10) == 9
    assert fill_level([7], 3) == 10


@pytest.mark.parametrize("mine", range(8))
@pytest.mark.parametrize("others", [[0], [3], [5, 2], [2, 5], [4, 4, 4]])
def test_a_worker_holds_too_many_when_some_other_holds_clearly_fewer(mine: int, others: list[int]) -> None:
    board = ConnectionTable(PATIENCE)
    board.write(1, mine)
    for number, held in enumerate(others):
        board.write(2 + number, held)
    assert others_hold_less(board, 1, mine) == (min(others) + SLACK < mine)


def test_what_counts_is_what_was_written_last() -> None:
    board = ConnectionTable(PATIENCE)
    board.write(2, 0)
    assert others_hold_less(board, 1, 5)
    board.write(2, 5)
    assert not others_hold_less(board, 1, 5)


def test_a_worker_that_takes_no_more_is_left_out() -> None:
    board = ConnectionTable(PATIENCE)
    board.write(2, 0)
    board.erase(2)
    assert not others_hold_less(board, 1, 5)


def test_a_worker_that_has_not_written_for_long_is_left_out() -> None:
    """It may be busy, or dead; new connections would wait for it."""
    board = ConnectionTable()
    board.write(2, 0)
    eventually(lambda: not others_hold_less(board, 1, 5), "it is left out")
    eventually(lambda: board.write(2, 0) or others_hold_less(board, 1, 5), "it takes part again")


def test_numbers_beyond_the_board_begin_anew() -> None:
    """gunicorn counts its workers up for ever."""
    board = ConnectionTable(PATIENCE)
    board.write(1000, 0)
    assert others_hold_less(board, 1001, 5)
    assert not others_hold_less(board, 1000, 5)


@pytest.mark.parametrize("ages", [(1, 65), (1, 65, 129), (64, 128), (3, 1027), tuple(range(1, 200))])
def test_workers_that_live_never_share_a_place(ages: tuple[int, ...]) -> None:
    board = ConnectionTable(PATIENCE)
    for held, age in enumerate(ages):
        board.write(age, 3 * held)
    for held, age in enumerate(ages):
        assert others_hold_less(board, age, 3 * held) == (held > 0), "each sees the first, and the first sees no other"


def test_the_places_of_workers_that_have_ended_are_used_again() -> None:
    board = ConnectionTable(PATIENCE)
    board.write(1, 0)
    for age in range(2, 5000):
        board.write(age, 9)
        assert others_hold_less(board, age, 9)
        board.erase(age)
    assert not others_hold_less(board, 1, 100)


def test_more_workers_than_places_take_part_without_one() -> None:
    board = ConnectionTable(PATIENCE)
    for age in range(1, MAX_WORKERS + 10):
        board.write(age, 0)
    assert others_hold_less(board, MAX_WORKERS + 9, 5)
    board.erase(MAX_WORKERS + 9)
    board.erase(7)
    board.write(MAX_WORKERS + 9, 9)
    assert others_hold_less(board, MAX_WORKERS + 9, 9)


_KILLED = """
import os, signal
from lbflask.server.worker.connection_balance import ConnectionTable, MAX_WORKERS

board = ConnectionTable(60)
board.write(1, 0)
for age in range(2, MAX_WORKERS + 200):
    if not (pid := os.fork()):
        board.write(age, 9)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
board.write(1, 0)
board.write(MAX_WORKERS + 200, 9)
print(board.share(MAX_WORKERS + 200, 9, 1))
"""


def test_the_places_of_killed_workers_are_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"], done.stderr


_FORKED = """
import os
from lbflask.server.worker.connection_balance import ConnectionTable

board = ConnectionTable(60)
for worker, held in ((1, 7), (2, 3)):
    if not (pid := os.fork()):
        board.write(worker, held)
        os._exit(0)
    os.waitpid(pid, 0)
print(board.share(1, 7, 1), board.share(2, 3, 1), board.share(3, 4, 1))
"""


def test_forked_processes_see_what_each_other_writes() -> None:
    done = subprocess.run([sys.executable, "-c", _FORKED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", str(UNLIMITED), "1"], "the place of the first is that of the second now"
