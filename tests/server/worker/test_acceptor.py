"""Taking connections: at once, after a step back, or later when there is no room."""

from __future__ import annotations

import _socket
import errno
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import gevent.socket
import pytest

from lbflask.server.worker.acceptor import BACKOFF, FULL_BACKOFF, Acceptor
from tests.support.greenlets import LONG, in_a_hub, reached, turns


class Hall:
    """A listener, those who have come, and those who were taken."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.listening: Acceptor | None = None
        self.taken: list[tuple[str, int]] = []
        self.failures: list[OSError] = []
        self.asked = 0
        self.yields = False
        self.full: bool | Callable[[], bool] = False

    def open(self, *, alone: bool, around: Callable[[Any], Any] = lambda listener: listener) -> None:
        listener = self._stack.enter_context(gevent.socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        listener.setblocking(False)
        self.address = listener.getsockname()
        self.listening = Acceptor(
            around(listener),
            self._take,
            alone=alone,
            yields=self._yields,
            full=self._full,
            on_failure=self.failures.append,
        )

    def comes(self, count: int = 1) -> list[tuple[str, int]]:
        """So many clients, and their addresses."""
        clients = [self._stack.enter_context(socket.create_connection(self.address, LONG)) for _ in range(count)]
        return [client.getsockname() for client in clients]

    def close(self) -> None:
        if self.listening is not None:
            self.listening.close()
            self.listening = None
        self._stack.close()

    def _full(self) -> bool:
        return self.full() if callable(self.full) else self.full

    def _yields(self) -> bool:
        self.asked += 1
        return self.yields

    def _take(self, sock: _socket.socket, address: tuple[str, int]) -> None:
        assert sock.getpeername() == address
        self.taken.append(address)
        self._stack.callback(sock.close)


def in_a_hall(test: Callable[[Hall], None]) -> Callable[[], None]:
    """The test in a hub of its own, with a hall that is closed in that hub too."""

    @in_a_hub
    def run() -> None:
        hall = Hall()
        try:
            test(hall)
        finally:
            hall.close()

    run.__name__ = test.__name__
    return run


@in_a_hall
def test_whoever_comes_is_taken_in_turn(hall: Hall) -> None:
    hall.open(alone=True)
    came = hall.comes(20)
    reached(lambda: len(hall.taken) == 20, "all are taken")
    assert hall.taken == came


@in_a_hall
def test_a_worker_that_is_alone_yields_to_nobody(hall: Hall) -> None:
    hall.yields = True
    hall.open(alone=True)
    hall.comes(3)
    reached(lambda: len(hall.taken) == 3, "all are taken")
    assert hall.asked == 0


@in_a_hall
def test_one_of_several_asks_for_each_whether_to_yield(hall: Hall) -> None:
    hall.open(alone=False)
    came = hall.comes(5)
    reached(lambda: len(hall.taken) == 5, "all are taken")
    assert hall.taken == came
    assert hall.asked == 5


@in_a_hall
def test_one_that_yields_takes_them_all_the_same_if_nobody_else_does(hall: Hall) -> None:
    hall.yields = True
    hall.open(alone=False)
    came = hall.comes(3)
    reached(lambda: len(hall.taken) == 3, "all are taken")
    assert hall.taken == came
    assert hall.asked >= 3


@in_a_hall
def test_one_that_yields_steps_back_before_each(hall: Hall) -> None:
    """Not only before the first: others would never catch up with one that holds more by far."""
    hall.yields = True
    hall.open(alone=False)
    hall.comes(20)
    began = time.monotonic()
    reached(lambda: len(hall.taken) == 20, "all are taken")
    assert time.monotonic() - began > 19 * BACKOFF


@in_a_hall
def test_without_room_there_is_a_pause_before_each_new_look(hall: Hall) -> None:
    """Not only before the first: the worker would spend all its time on it."""
    looks: list[float] = []

    def full() -> bool:
        looks.append(time.monotonic())
        return True

    hall.full = full
    hall.open(alone=True)
    hall.comes()
    reached(lambda: len(looks) > 3, "it looks again")
    assert looks[3] - looks[0] > 2.5 * FULL_BACKOFF


@in_a_hall
def test_one_that_yields_finds_nothing_if_another_was_quicker(hall: Hall) -> None:
    hall.yields = True
    listeners: list[Any] = []
    hall.open(alone=False, around=lambda listener: listeners.append(listener) or listener)
    first, second = hall.comes(2)
    with socket.socket(fileno=listeners[0]._sock._accept()[0]) as taken_by_another:
        assert taken_by_another.getpeername() == first
        reached(lambda: hall.taken, "the other one is taken")
        turns()
        assert hall.taken == [second]


@in_a_hall
def test_while_there_is_no_room_nobody_is_taken_and_later_all_are(hall: Hall) -> None:
    hall.full = True
    hall.open(alone=True)
    came = hall.comes(3)
    turns(30)
    assert hall.taken == []
    hall.full = False
    reached(lambda: len(hall.taken) == 3, "all are taken")
    assert hall.taken == came


@in_a_hall
def test_the_next_is_taken_as_soon_as_there_is_room(hall: Hall) -> None:
    """Without the rest of the pause; and nobody before there is."""
    hall.full = True
    hall.open(alone=True)
    came = hall.comes(3)
    turns()
    assert hall.listening is not None
    hall.listening.resume()
    assert hall.taken == []
    hall.full = lambda: len(hall.taken) == 1
    hall.listening.resume()
    assert hall.taken == came[:1]
    hall.full = False
    hall.listening.resume()
    hall.listening.resume()  # when nothing pauses
    reached(lambda: len(hall.taken) == 3, "all are taken")
    assert hall.taken == came


@in_a_hall
def test_room_for_one_is_for_one(hall: Hall) -> None:
    """Also when more have come at once."""
    hall.full = lambda: bool(hall.taken)
    hall.open(alone=True)
    came = hall.comes(3)
    reached(lambda: hall.taken, "one is taken")
    turns(30)
    assert hall.taken == came[:1]


class Failing:
    """A listener whose `accept` fails a few times, as the kernel's does."""

    def __init__(self, listener: Any, *errors: int) -> None:
        self._listener = listener
        self._errors = list(errors)
        self._sock = self
        self.fileno = listener.fileno
        self.close = listener.close

    def _accept(self) -> Any:
        if self._errors:
            number = self._errors.pop(0)
            raise OSError(number, "no")
        return self._listener._sock._accept()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ECONNABORTED, errno.EAGAIN])
def test_an_accept_that_fails_is_tried_again(number: int) -> None:
    """Out of files, or a client that has gone: no reason to stop listening, nor to ask at full speed."""

    @in_a_hall
    def play(hall: Hall) -> None:
        hall.open(alone=True, around=lambda listener: Failing(listener, number))
        came = hall.comes(3)
        reached(lambda: len(hall.taken) == 3, "all are taken")
        assert hall.taken == came
        of_the_system = number not in (errno.ECONNABORTED, errno.EAGAIN)
        assert [error.errno for error in hall.failures] == [number] * of_the_system

    play()


@in_a_hall
def test_a_closed_listening_takes_nobody_and_lets_go_of_the_listener(hall: Hall) -> None:
    hall.open(alone=True)
    hall.comes()
    reached(lambda: hall.taken, "the first is taken")
    hall.close()
    with pytest.raises(ConnectionRefusedError):
        hall.comes()
    assert len(hall.taken) == 1
