"""Two wires, joined: what one end says the other hears, until both have ended or either breaks."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import repeat

import pytest

from devtools.wait import PATIENCE, eventually
from lbflask.upstream.tunnel import Tunnel

LONG = PATIENCE
#: More than all buffers of a wire hold.
MUCH = bytes(range(256)) * 65_536


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname(), LONG)
        other, _ = listener.accept()
    for end in (one, other):
        end.settimeout(LONG)
    return one, other


class Joined:
    """A tunnel that runs on a thread of its own, between a client's socket and a backend's."""

    def __init__(self, stack: ExitStack, idle: float, early: tuple[bytes, bytes]) -> None:
        self.client, self.client_side = pair()
        self.backend, self.backend_side = pair()
        for end in (self.client, self.client_side, self.backend, self.backend_side):
            stack.enter_context(end)
        self.tunnel = Tunnel(self.client_side, self.backend_side, idle)
        self._early = early
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        stack.callback(self.assert_over)
        stack.callback(self.backend.close)
        stack.callback(self.client.close)

    def _run(self) -> None:
        self.tunnel.run(*self._early)

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def assert_over(self) -> None:
        """It ends by itself, and the backend's wire is closed then."""
        self._thread.join(LONG)
        assert self.over
        assert self.backend_side.fileno() == -1


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def joined(stack: ExitStack, idle: float = 3600.0, early: tuple[bytes, bytes] = (b"", b"")) -> Joined:
    return Joined(stack, idle, early)


def read(end: socket.socket, count: int) -> bytes:
    """So many bytes; fewer only at the end."""
    data = b""
    while len(data) < count and (piece := end.recv(count - len(data))):
        data += piece
    return data


def reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def send_for_ever(end: socket.socket) -> None:
    for piece in repeat(MUCH):
        end.sendall(piece)


def assert_broken_off(end: socket.socket) -> None:
    """Nothing more comes, and nothing that is sent arrives anywhere."""
    try:
        assert end.recv(1) == b""
    except ConnectionResetError:
        pass


def test_bytes_pass_both_ways_and_are_counted(stack: ExitStack) -> None:
    both = joined(stack)
    both.client.sendall(b"hello")
    assert read(both.backend, 5) == b"hello"
    both.backend.sendall(b"welcome")
    assert read(both.client, 7) == b"welcome"
    both.client.close()
    both.backend.close()
    both.assert_over()
    assert (both.tunnel.up, both.tunnel.down, both.tunnel.timed_out) == (5, 7, False)


def test_what_came_early_passes_first_and_counts(stack: ExitStack) -> None:
    both = joined(stack, early=(b"early ", b"prompt "))
    both.client.sendall(b"bird")
    both.backend.sendall(b"answer")
    assert read(both.backend, 10) == b"early bird"
    assert read(both.client, 13) == b"prompt answer"
    assert (both.tunnel.up, both.tunnel.down) == (10, 13)


def test_a_client_that_has_said_all_may_go_on_listening(stack: ExitStack) -> None:
    both = joined(stack)
    both.client.sendall(b"all")
    both.client.shutdown(socket.SHUT_WR)
    assert read(both.backend, 100) == b"all"
    assert not both.over
    both.backend.sendall(b"thanks")
    both.backend.shutdown(socket.SHUT_WR)
    assert read(both.client, 100) == b"thanks"
    both.assert_over()
    assert (both.tunnel.up, both.tunnel.down) == (3, 6)


def test_a_backend_that_has_said_all_may_go_on_listening(stack: ExitStack) -> None:
    both = joined(stack)
    both.backend.sendall(b"all")
    both.backend.shutdown(socket.SHUT_WR)
    assert read(both.client, 100) == b"all"
    assert not both.over
    both.client.sendall(b"thanks")
    both.client.shutdown(socket.SHUT_WR)
    assert read(both.backend, 100) == b"thanks"
    both.assert_over()
    assert (both.tunnel.up, both.tunnel.down, both.tunnel.cut) == (6, 3, "")


@pytest.mark.parametrize("whose", ["client", "backend"])
def test_a_reset_of_either_ends_both(whose: str, stack: ExitStack) -> None:
    both = joined(stack, early=(b"up", b"down"))
    assert read(both.backend, 2) == b"up"
    assert read(both.client, 4) == b"down"
    breaks, other = (both.client, both.backend) if whose == "client" else (both.backend, both.client)
    reset(breaks)
    assert_broken_off(other)
    both.assert_over()
    assert not both.tunnel.timed_out
    assert both.tunnel.cut == {"client": "the client hung up", "backend": "the backend broke off the connection"}[whose]


def test_a_taker_that_is_gone_ends_the_one_who_gives(stack: ExitStack) -> None:
    """One who only ever sends would not learn of it otherwise."""
    both = joined(stack)
    reset(both.client)
    with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
        send_for_ever(both.backend)
    both.assert_over()


def test_who_takes_slowly_gets_all_of_it(stack: ExitStack) -> None:
    both = joined(stack)
    sender = threading.Thread(target=both.backend.sendall, args=(MUCH,), daemon=True)
    sender.start()
    assert read(both.client, len(MUCH)) == MUCH
    sender.join(LONG)
    assert both.tunnel.down == len(MUCH)


def test_one_direction_does_not_wait_for_the_other(stack: ExitStack) -> None:
    """A client that reads nothing can still be heard."""
    both = joined(stack)
    sender = threading.Thread(target=both.backend.sendall, args=(MUCH,), daemon=True)
    sender.start()
    both.client.sendall(b"stop")
    assert read(both.backend, 4) == b"stop"
    assert len(read(both.client, len(MUCH))) == len(MUCH)
    sender.join(LONG)


def test_silence_both_ways_ends_it(stack: ExitStack) -> None:
    both = joined(stack, idle=0.05)
    assert_broken_off(both.client)
    assert_broken_off(both.backend)
    both.assert_over()
    assert both.tunnel.timed_out
    assert both.tunnel.cut == "nothing was said for 0.05 s"


@pytest.mark.parametrize("speaks", ["client", "backend"])
def test_a_word_of_either_side_breaks_the_silence(speaks: str, stack: ExitStack) -> None:
    both = joined(stack, idle=100.0)
    begun = time.monotonic()
    talker, listener = (both.client, both.backend) if speaks == "client" else (both.backend, both.client)
    talker.sendall(b"x")
    assert read(listener, 1) == b"x"
    both.tunnel.check_deadline(begun + 100.0)
    assert not both.tunnel.timed_out
    both.tunnel.check_deadline(time.monotonic() + 100.0)
    assert both.tunnel.timed_out
    assert_broken_off(both.client)
    assert_broken_off(both.backend)


class Ended(BaseException):
    """What ends a greenlet from outside."""


class Interrupted:
    """A client whose side is ended from outside when something is to be sent to it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.recv = sock.recv
        self.shutdown = sock.shutdown
        self.setsockopt = sock.setsockopt

    def send(self, data: bytes | memoryview) -> int:
        raise Ended


def test_one_that_is_ended_from_outside_leaves_nothing_behind(stack: ExitStack) -> None:
    """Neither a reader of the client nor an open wire."""
    (client, client_side), (backend, backend_side) = pair(), pair()
    for end in (client, client_side, backend, backend_side):
        stack.enter_context(end)
    threads = threading.active_count()
    with pytest.raises(Ended):
        Tunnel(Interrupted(client_side), backend_side, 3600.0).run(b"", b"hello")
    eventually(lambda: all(thread.name != "tunnel" for thread in threading.enumerate()), "its thread has ended")
    assert threading.active_count() <= threads + 1  # the watchdog may have begun
    assert backend_side.fileno() == -1
    assert_broken_off(client)
    assert_broken_off(backend)
