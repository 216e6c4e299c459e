"""The board on which workers note how many connections they hold."""

from __future__ import annotations

import subprocess
import sys

import pytest

from devtools.servers import ROOT
from devtools.wait import eventually
from lbflask.server.worker.connection_balance import HEARTBEAT_TIMEOUT, MAX_WORKERS, SLACK, ConnectionTable


def test_a_worker_alone_holds_no_more_than_another() -> None:
    board = ConnectionTable()
    assert not board.others_hold_less(1, 1000)
    board.write(1, 3)
    assert not board.others_hold_less(1, 1000)


@pytest.mark.parametrize("mine", range(8))
@pytest.mark.parametrize("others", [[0], [3], [5, 2], [2, 5], [4, 4, 4]])
def test_a_worker_holds_too_many_when_some_other_holds_clearly_fewer(mine: int, others: list[int]) -> None:
    board = ConnectionTable()
    board.write(1, mine)
    for number, held in enumerate(others):
        board.write(2 + number, held)
    assert board.others_hold_less(1, mine) == (min(others) + SLACK < mine)


def test_what_counts_is_what_was_written_last() -> None:
    board = ConnectionTable()
    board.write(2, 0)
    assert board.others_hold_less(1, 5)
    board.write(2, 5)
    assert not board.others_hold_less(1, 5)


def test_a_worker_that_takes_no_more_is_left_out() -> None:
    board = ConnectionTable()
    board.write(2, 0)
    board.erase(2)
    assert not board.others_hold_less(1, 5)


def test_a_worker_that_has_not_written_for_long_is_left_out() -> None:
    """It may be busy, or dead; new connections would wait for it."""
    board = ConnectionTable()
    board.write(2, 0)
    assert board.others_hold_less(1, 5)
    eventually(lambda: not board.others_hold_less(1, 5), "it is left out", HEARTBEAT_TIMEOUT + 5)
    board.write(2, 0)
    assert board.others_hold_less(1, 5)


def test_numbers_beyond_the_board_begin_anew() -> None:
    """gunicorn counts its workers up for ever."""
    board = ConnectionTable()
    board.write(1000, 0)
    assert board.others_hold_less(1001, 5)
    assert not board.others_hold_less(1000, 5)


@pytest.mark.parametrize("ages", [(1, 65), (1, 65, 129), (64, 128), (3, 1027), tuple(range(1, 200))])
def test_workers_that_live_never_share_a_place(ages: tuple[int, ...]) -> None:
    board = ConnectionTable()
    for held, age in enumerate(ages):
        board.write(age, 3 * held)
    for held, age in enumerate(ages):
        assert board.others_hold_less(age, 3 * held) == (held > 0), "each sees the first, and the first sees no other"


def test_the_places_of_workers_that_have_ended_are_used_again() -> None:
    board = ConnectionTable()
    board.write(1, 0)
    for age in range(2, 5000):
        board.write(age, 9)
        assert board.others_hold_less(age, 9)
        board.erase(age)
    assert not board.others_hold_less(1, 100)


def test_more_workers_than_places_take_part_without_one() -> None:
    board = ConnectionTable()
    for age in range(1, MAX_WORKERS + 10):
        board.write(age, 0)
    assert board.others_hold_less(MAX_WORKERS + 9, 5)
    board.erase(MAX_WORKERS + 9)
    board.erase(7)
    board.write(MAX_WORKERS + 9, 9)
    assert board.others_hold_less(MAX_WORKERS + 9, 9)


_KILLED = """
import os, signal
from lbflask.server.worker.connection_balance import ConnectionTable, MAX_WORKERS

board = ConnectionTable()
board.write(1, 0)
for age in range(2, MAX_WORKERS + 200):
    if not (pid := os.fork()):
        board.write(age, 9)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
board.write(1, 0)
board.write(MAX_WORKERS + 200, 9)
print(board.others_hold_less(MAX_WORKERS + 200, 9))
"""


def test_the_places_of_killed_workers_are_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"], done.stderr


_FORKED = """
import os
from lbflask.server.worker.connection_balance import ConnectionTable

board = ConnectionTable()
for worker, held in ((1, 7), (2, 3)):
    if not (pid := os.fork()):
        board.write(worker, held)
        os._exit(0)
    os.waitpid(pid, 0)
print(board.others_hold_less(1, 7), board.others_hold_less(2, 3), board.others_hold_less(3, 4))
"""


def test_forked_processes_see_what_each_other_writes() -> None:
    done = subprocess.run([sys.executable, "-c", _FORKED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "False"]
