"""Connections are accepted at once, after a pause, or later when the worker is full."""

from __future__ import annotations

import _socket
import errno
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gevent.socket
import pytest

from lbflask.server.worker.acceptor import BACKOFF, BATCH, FULL_BACKOFF, Acceptor, backlog
from tests.support.greenlets import LONG, in_a_hub, reached, turns


class ListenerRun:
    """A listener with its acceptor, the clients that have connected, and those that were accepted."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.acceptor: Acceptor | None = None
        self.accepted: list[tuple[str, int]] = []
        self.failures: list[OSError] = []
        self.pending: list[int] = []
        self.share: int | Callable[[int], int] = BATCH
        self.full: bool | Callable[[], bool] = False

    def open(self, around: Callable[[Any], Any] = lambda listener: listener) -> None:
        listener = self._stack.enter_context(gevent.socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        listener.setblocking(False)
        self.address = listener.getsockname()
        self.acceptor = Acceptor(
            around(listener),
            self._accept,
            share=self._share,
            full=self._full,
            on_failure=self.failures.append,
        )

    def connect(self, count: int = 1) -> list[tuple[str, int]]:
        """Connect so many clients. Returns their addresses."""
        clients = [self._stack.enter_context(socket.create_connection(self.address, LONG)) for _ in range(count)]
        return [client.getsockname() for client in clients]

    def close(self) -> None:
        if self.acceptor is not None:
            self.acceptor.close()
            self.acceptor = None
        self._stack.close()

    def _full(self) -> bool:
        return self.full() if callable(self.full) else self.full

    def _share(self, pending: int) -> int:
        self.pending.append(pending)
        return self.share(pending) if callable(self.share) else self.share

    def _accept(self, sock: _socket.socket, address: tuple[str, int]) -> None:
        assert sock.getpeername() == address
        self.accepted.append(address)
        self._stack.callback(sock.close)


def with_acceptor(test: Callable[[ListenerRun], None]) -> Callable[[], None]:
    """The test in a separate hub, with a listener that is closed in that hub too."""

    @in_a_hub
    def run() -> None:
        listener_run = ListenerRun()
        try:
            test(listener_run)
        finally:
            listener_run.close()

    run.__name__ = test.__name__
    return run


@with_acceptor
def test_clients_are_accepted_in_turn(listener_run: ListenerRun) -> None:
    listener_run.open()
    clients = listener_run.connect(20)
    reached(lambda: len(listener_run.accepted) == 20, "all are accepted")
    assert listener_run.accepted == clients


@with_acceptor
def test_the_share_is_that_of_all_connections_that_wait(listener_run: ListenerRun) -> None:
    """They are accepted at once: each that waits for another turn of the loop waits for all requests of that turn."""
    listener_run.open()
    clients = listener_run.connect(20)
    reached(lambda: listener_run.accepted, "some are accepted")
    assert listener_run.pending == [20]
    assert listener_run.accepted == clients


@with_acceptor
def test_a_part_is_accepted_at_once_and_a_part_of_the_rest_in_the_next_turn(listener_run: ListenerRun) -> None:
    listener_run.share = lambda pending: -(-pending // 2)
    listener_run.open()
    clients = listener_run.connect(20)
    reached(lambda: len(listener_run.accepted) == 20, "all are accepted")
    assert listener_run.accepted == clients
    assert listener_run.pending == [20, 10, 5, 2, 1]


@with_acceptor
def test_other_work_has_its_turn_between_batches(listener_run: ListenerRun) -> None:
    listener_run.share = BATCH + 30
    listener_run.open()
    listener_run.connect(BATCH + 20)
    reached(lambda: len(listener_run.accepted) == BATCH + 20, "all are accepted")
    assert listener_run.pending == [BATCH + 20, 20]


@with_acceptor
def test_a_worker_without_a_share_accepts_if_no_other_does(listener_run: ListenerRun) -> None:
    listener_run.share = 0
    listener_run.open()
    clients = listener_run.connect(3)
    reached(lambda: len(listener_run.accepted) == 3, "all are accepted")
    assert listener_run.accepted == clients
    assert listener_run.pending == [3, 2, 1]


@with_acceptor
def test_one_without_a_share_steps_back_before_each(listener_run: ListenerRun) -> None:
    """Not only before the first: others would never catch up with one that holds more by far."""
    listener_run.share = 0
    listener_run.open()
    listener_run.connect(20)
    began = time.monotonic()
    reached(lambda: len(listener_run.accepted) == 20, "all are accepted")
    assert time.monotonic() - began > 19 * BACKOFF


def test_connections_at_a_unix_socket_are_not_counted(tmp_path: Path) -> None:
    """The kernel does not count them; one at a time leaves others their share."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        client.connect(listener.getsockname())
        assert backlog(listener) == 1


@with_acceptor
def test_without_room_there_is_a_pause_before_each_new_look(listener_run: ListenerRun) -> None:
    """Not only before the first: the worker would spend all its time on it."""
    looks: list[float] = []

    def full() -> bool:
        looks.append(time.monotonic())
        return True

    listener_run.full = full
    listener_run.open()
    listener_run.connect()
    reached(lambda: len(looks) > 3, "it looks again")
    assert looks[3] - looks[0] > 2.5 * FULL_BACKOFF


@with_acceptor
def test_one_without_a_share_finds_nothing_if_another_was_quicker(listener_run: ListenerRun) -> None:
    listener_run.share = 0
    listeners: list[Any] = []
    listener_run.open(lambda listener: listeners.append(listener) or listener)
    first, second = listener_run.connect(2)
    with socket.socket(fileno=listeners[0]._sock._accept()[0]) as taken_by_another:
        assert taken_by_another.getpeername() == first
        reached(lambda: listener_run.accepted, "the other one is accepted")
        turns()
        assert listener_run.accepted == [second]


@with_acceptor
def test_while_there_is_no_room_nobody_is_taken_and_later_all_are(listener_run: ListenerRun) -> None:
    listener_run.full = True
    listener_run.open()
    clients = listener_run.connect(3)
    turns(30)
    assert listener_run.accepted == []
    listener_run.full = False
    reached(lambda: len(listener_run.accepted) == 3, "all are accepted")
    assert listener_run.accepted == clients


@with_acceptor
def test_the_next_is_taken_as_soon_as_there_is_room(listener_run: ListenerRun) -> None:
    """Without the rest of the pause; and nobody before there is."""
    listener_run.full = True
    listener_run.open()
    clients = listener_run.connect(3)
    turns()
    assert listener_run.acceptor is not None
    listener_run.acceptor.resume()
    assert listener_run.accepted == []
    listener_run.full = lambda: len(listener_run.accepted) == 1
    listener_run.acceptor.resume()
    assert listener_run.accepted == clients[:1]
    listener_run.full = False
    listener_run.acceptor.resume()
    listener_run.acceptor.resume()  # when nothing pauses
    reached(lambda: len(listener_run.accepted) == 3, "all are accepted")
    assert listener_run.accepted == clients


@with_acceptor
def test_room_for_one_is_for_one(listener_run: ListenerRun) -> None:
    """Also when more have come at once."""
    listener_run.full = lambda: bool(listener_run.accepted)
    listener_run.open()
    clients = listener_run.connect(3)
    reached(lambda: listener_run.accepted, "one is accepted")
    turns(30)
    assert listener_run.accepted == clients[:1]


class Failing:
    """A listener whose `accept` fails a few times, as the kernel's does."""

    def __init__(self, listener: Any, *errors: int) -> None:
        self._listener = listener
        self._errors = list(errors)
        self._sock = self
        self.fileno = listener.fileno
        self.getsockopt = listener.getsockopt
        self.close = listener.close

    def _accept(self) -> Any:
        if self._errors:
            number = self._errors.pop(0)
            raise OSError(number, "no")
        return self._listener._sock._accept()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ECONNABORTED, errno.EAGAIN])
def test_an_accept_that_fails_is_tried_again(number: int) -> None:
    """Out of files, or a client that has gone: no reason to stop acceptor, nor to ask at full speed."""

    @with_acceptor
    def play(listener_run: ListenerRun) -> None:
        listener_run.open(lambda listener: Failing(listener, number))
        clients = listener_run.connect(3)
        reached(lambda: len(listener_run.accepted) == 3, "all are accepted")
        assert listener_run.accepted == clients
        of_the_system = number not in (errno.ECONNABORTED, errno.EAGAIN)
        assert [error.errno for error in listener_run.failures] == [number] * of_the_system

    play()


@with_acceptor
def test_a_closed_acceptor_accepts_nothing_and_closes_the_listener(listener_run: ListenerRun) -> None:
    listener_run.open()
    listener_run.connect()
    reached(lambda: listener_run.accepted, "the first is accepted")
    listener_run.close()
    with pytest.raises(ConnectionRefusedError):
        listener_run.connect()
    assert len(listener_run.accepted) == 1
