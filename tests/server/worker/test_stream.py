"""Sockets as the worker's greenlets use them: who waits lets others run, and is woken by all that can end the wait."""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fcntl import ioctl
from pathlib import Path
from termios import FIONREAD

import gevent
import gevent.event
import pytest

from devtools.certificates import Authority
from devtools.wait import eventually
from lbflask.server.worker.stream import Stream
from lbflask.server.worker.tls_stream import PlainHttp, TlsStream
from tests.support.greenlets import LONG, in_a_hub, reached, turns

#: More than all buffers of a connection hold.
MUCH = b"0123456789abcdef" * (1 << 20)

Ends = tuple[Stream, socket.socket]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection: ours, and the peer's, which blocks."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        peer = stack.enter_context(socket.create_connection(listener.getsockname(), LONG))
        ours = stack.enter_context(listener.accept()[0])
        yield ours, peer


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def half_close(peer: socket.socket) -> None:
    peer.shutdown(socket.SHUT_WR)


Pair = tuple[socket.socket, socket.socket]


def waiting(reader: Callable[[], object]) -> gevent.Greenlet:
    """A greenlet that has got as far as to wait for this."""
    greenlet = gevent.spawn(reader)
    turns(2)
    assert not greenlet.ready()
    return greenlet


def send_all(stream: Stream, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[stream.send(rest) :]


def read_all(stream: Stream, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := stream.recv(count - len(data))):
        data += piece
    return data


# Waiting


@in_a_hub
def test_who_waits_for_bytes_lets_others_run(pair: Pair) -> None:
    stream = Stream(pair[0])
    reader = waiting(lambda: stream.recv(100))
    pair[1].sendall(b"hello")
    assert reader.get(timeout=LONG) == b"hello"


@in_a_hub
def test_no_more_is_read_than_the_given_size(pair: Pair) -> None:
    stream = Stream(pair[0])
    pair[1].sendall(b"hello")
    half_close(pair[1])
    assert [stream.recv(2) for _ in range(4)] == [b"he", b"ll", b"o", b""]


@in_a_hub
def test_a_reset_is_an_error(pair: Pair) -> None:
    stream = Stream(pair[0])
    reader = waiting(lambda: stream.recv(1))
    reset(pair[1])
    with pytest.raises(ConnectionResetError):
        reader.get(timeout=LONG)


@in_a_hub
def test_one_long_body_does_not_keep_others_waiting(pair: Pair) -> None:
    """Also when all of it is there already, readers take turns."""
    told: list[str] = []
    one, peer = socket.socketpair()
    with one, peer:
        long, short = Stream(pair[0]), Stream(one)
        pair[1].sendall(b"x" * 100)
        peer.sendall(b"x" * 3)

        def read(stream: Stream, count: int, name: str) -> None:
            for _ in range(count):
                assert stream.recv(1) == b"x"
                told.append(name)

        gevent.joinall([gevent.spawn(read, long, 100, "long"), gevent.spawn(read, short, 3, "short")], raise_error=True)
        assert len(told) == 103
        assert told.index("short") < 10
        assert told[:50].count("short") == 3
        for stream in (long, short):
            stream.close()


def taken_by(receiver: socket.socket) -> bytes:
    """As many bytes as MUCH has, as they arrive while others run."""
    receiver.setblocking(False)
    taken = bytearray()

    def take() -> bool:
        try:
            taken.extend(receiver.recv(1 << 20))
        except BlockingIOError:
            pass
        return len(taken) == len(MUCH)

    reached(take, "all has arrived")
    return bytes(taken)


@in_a_hub
def test_who_sends_more_than_is_taken_waits_and_lets_others_run(pair: Pair) -> None:
    stream = Stream(pair[0])
    sender = waiting(lambda: send_all(stream, MUCH))
    taken = taken_by(pair[1])
    sender.get(timeout=LONG)
    assert taken == MUCH


@in_a_hub
def test_one_may_read_while_another_writes(pair: Pair) -> None:
    stream = Stream(pair[0])
    reader = waiting(lambda: stream.recv(100))
    sender = waiting(lambda: send_all(stream, MUCH))
    pair[1].sendall(b"hello")
    assert reader.get(timeout=LONG) == b"hello"
    assert not sender.ready()
    stream.interrupt()
    with pytest.raises(TimeoutError):
        sender.get(timeout=LONG)


@in_a_hub
def test_sending_to_a_closed_peer_is_an_error(pair: Pair) -> None:
    stream = Stream(pair[0])
    reset(pair[1])
    with pytest.raises(OSError, match=r"reset|[Bb]roken"):
        send_all(stream, MUCH)


# Files


def send_file(stream: Stream, path: Path, count: int) -> int:
    """Sends so many bytes of the file, or as many as it has; how many."""
    sent = 0
    with path.open("rb") as file:
        while sent < count and (more := stream.send_file(file.fileno(), sent, count - sent)):
            sent += more
    return sent


@in_a_hub
def test_a_file_is_sent_while_others_run(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(MUCH)
    stream = Stream(pair[0])
    sender = waiting(lambda: send_file(stream, tmp_path / "file", len(MUCH)))
    taken = taken_by(pair[1])
    assert sender.get(timeout=LONG) == len(MUCH)
    assert taken == MUCH


@in_a_hub
def test_a_file_that_is_shorter_is_sent_to_its_end(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    assert send_file(Stream(pair[0]), tmp_path / "file", 100) == 5
    assert pair[1].recv(100) == b"hello"


@in_a_hub
def test_where_the_kernel_cannot_send_a_file_it_is_read(pair: Pair) -> None:
    """sendfile(2) takes no file of /proc."""
    path = Path("/proc/self/cmdline")
    content = path.read_bytes()
    assert send_file(Stream(pair[0]), path, len(content) + 1) == len(content)
    assert pair[1].recv(len(content) + 1) == content


@in_a_hub
def test_sending_a_file_can_be_interrupted(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(MUCH)
    stream = Stream(pair[0])
    sender = waiting(lambda: send_file(stream, tmp_path / "file", len(MUCH)))
    stream.interrupt()
    with pytest.raises(TimeoutError):
        sender.get(timeout=LONG)


# Looking without waiting


@in_a_hub
def test_peeking_neither_waits_nor_takes(pair: Pair) -> None:
    stream = Stream(pair[0])
    with pytest.raises(BlockingIOError):
        stream.recv(1, socket.MSG_PEEK)
    pair[1].sendall(b"hello")
    assert [stream.recv(2, socket.MSG_PEEK) for _ in range(2)] == [b"he", b"he"]
    assert stream.recv(100) == b"hello"
    half_close(pair[1])
    reached(lambda: not _peeked(stream), "the end is seen")


def _peeked(stream: Stream) -> bytes | None:
    try:
        return stream.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return b"nothing yet"


@in_a_hub
def test_what_has_come_already_is_taken_at_once(pair: Pair) -> None:
    stream = Stream(pair[0])
    assert stream.recv_at_once(5) == b""
    pair[1].sendall(b"hello")
    assert stream.recv_at_once(2) == b"he"
    assert stream.recv_at_once(100) == b"llo"
    reset(pair[1])
    assert stream.recv_at_once(1) == b""


# Interrupting


@in_a_hub
def test_an_interrupt_ends_a_wait_and_nothing_else(pair: Pair) -> None:
    stream = Stream(pair[0])
    reader = waiting(lambda: stream.recv(100))
    stream.interrupt()
    with pytest.raises(TimeoutError):
        reader.get(timeout=LONG)
    stream.interrupt()  # nobody waits
    again = waiting(lambda: stream.recv(100))
    pair[1].sendall(b"hello")
    assert again.get(timeout=LONG) == b"hello"


@in_a_hub
def test_an_interrupt_may_come_from_the_hub(pair: Pair) -> None:
    stream = Stream(pair[0])
    reader = waiting(lambda: stream.recv(100))
    gevent.get_hub().loop.run_callback(stream.interrupt)
    with pytest.raises(TimeoutError):
        reader.get(timeout=LONG)


@in_a_hub
def test_closing_wakes_all_that_wait(pair: Pair) -> None:
    """And the peer sees the end."""
    stream = Stream(pair[0])
    reader = waiting(lambda: stream.recv(100))
    sender = waiting(lambda: send_all(stream, MUCH))
    stream.close()
    for greenlet in (reader, sender):
        with pytest.raises(TimeoutError):
            greenlet.get(timeout=LONG)
    assert stream.fileno() == -1
    while pair[1].recv(1 << 20):
        pass


@in_a_hub
def test_shutting_down_wakes_the_reader(pair: Pair) -> None:
    """So a wait for a backend is ended from outside."""
    stream = Stream(pair[0])
    reader = waiting(lambda: stream.recv(100))
    stream.shutdown(socket.SHUT_RDWR)
    assert reader.get(timeout=LONG) == b""


@in_a_hub
def test_a_greenlet_that_was_interrupted_ends_no_wait_but_its_own(pair: Pair) -> None:
    """Of readers and of writers: the next one waits already when the interrupted one wakes."""
    stream = Stream(pair[0])
    readers = [waiting(lambda: stream.recv(100))]
    writers = [waiting(lambda: send_all(stream, MUCH)) for _ in range(2)]
    stream.interrupt()
    readers.append(gevent.spawn(stream.recv, 100))
    writers.append(gevent.spawn(send_all, stream, MUCH))
    for greenlet in (readers[0], *writers[:2]):
        with pytest.raises(TimeoutError):
            greenlet.get(timeout=LONG)
    turns()
    assert not readers[1].ready()
    assert not writers[2].ready()
    pair[1].sendall(b"hello")
    assert readers[1].get(timeout=LONG) == b"hello"
    stream.close()
    with pytest.raises(TimeoutError):
        writers[2].get(timeout=LONG)


@in_a_hub
def test_a_greenlet_that_reads_while_another_reads_takes_its_place(pair: Pair) -> None:
    stream = Stream(pair[0])
    first = waiting(lambda: stream.recv(100))
    second = gevent.spawn(stream.recv, 100)
    with pytest.raises(TimeoutError):
        first.get(timeout=LONG)
    pair[1].sendall(b"hello")
    assert second.get(timeout=LONG) == b"hello"


@in_a_hub
def test_an_interrupt_of_a_wait_that_has_ended_meanwhile_ends_no_other(pair: Pair) -> None:
    stream, ours = Stream(pair[0]), gevent.event.Event()

    def play() -> str:
        try:
            stream.recv(100)
        except TimeoutError:
            return "interrupted"
        except ZeroDivisionError:
            pass
        ours.wait()
        return "went on"

    greenlet = waiting(play)
    gevent.get_hub().loop.run_callback(greenlet.throw, ZeroDivisionError())
    stream.interrupt()
    turns()
    ours.set()
    assert greenlet.get(timeout=LONG) == "went on"


@in_a_hub
def test_a_closed_stream_ends_all_waits(pair: Pair) -> None:
    stream, told = watched(pair)
    stream.close()
    for use in (lambda: stream.recv(1), lambda: send_all(stream, b"x")):
        with pytest.raises(OSError, match="Bad file descriptor"):
            use()
    assert told == []


# Noticing that the peer has gone


def watched(pair: Pair) -> tuple[Stream, list[str]]:
    """A stream that was read once, and what it has told since."""
    stream, told = Stream(pair[0]), []
    stream.set_on_gone(lambda: told.append("gone"))
    pair[1].sendall(b"x")
    assert stream.recv(1) == b"x"
    return stream, told


@pytest.mark.parametrize("goes", [socket.socket.close, half_close, reset], ids=["closes", "half-closes", "resets"])
@in_a_hub
def test_a_peer_that_closes_without_a_reader_is_noticed_once(pair: Pair, goes: Callable[[socket.socket], None]) -> None:
    stream, told = watched(pair)
    goes(pair[1])
    reached(lambda: stream.gone, "it is noticed")
    turns()
    assert told == ["gone"]


@in_a_hub
def test_it_is_known_without_a_callback(pair: Pair) -> None:
    stream, _ = watched(pair)
    stream.set_on_gone(None)
    pair[1].close()
    reached(lambda: stream.gone, "it is noticed")


@in_a_hub
def test_a_peer_that_sends_without_a_reader_has_not_gone(pair: Pair) -> None:
    """What it says is kept for the next reader, and so is its end."""
    stream, told = watched(pair)
    pair[1].sendall(b"next")
    pair[1].close()
    turns()
    assert (stream.gone, told) == (False, [])
    assert stream.recv(100) == b"next"
    assert stream.recv(100) == b""
    assert told == []


@pytest.mark.parametrize(
    "stir",
    [lambda peer: peer.sendall(b"next"), socket.socket.close, half_close, reset],
    ids=["speaks", "closes", "half-closes", "resets"],
)
@in_a_hub
def test_a_peer_is_silent_until_it_sends_or_closes_without_a_reader(
    pair: Pair, stir: Callable[[socket.socket], None]
) -> None:
    """RFC 9112 §9.2: what nobody asked for is not the answer to the next request."""
    stream, _ = watched(pair)
    turns()
    assert stream.silent()
    stir(pair[1])
    reached(lambda: not stream.silent(), "it is noticed")


@in_a_hub
def test_a_peer_is_silent_again_when_its_data_has_been_read(pair: Pair) -> None:
    stream, _ = watched(pair)
    pair[1].sendall(b"next")
    reached(lambda: not stream.silent(), "it is noticed")
    assert stream.recv(2) == b"ne"
    reached(lambda: not stream.silent(), "there is more")
    assert stream.recv(2) == b"xt"
    turns()
    assert stream.silent()


@in_a_hub
def test_who_reads_sees_the_end_himself(pair: Pair) -> None:
    stream, told = watched(pair)
    reader = waiting(lambda: stream.recv(100))
    half_close(pair[1])
    assert reader.get(timeout=LONG) == b""
    assert told == []


@in_a_hub
def test_who_is_told_may_end_another_wait(pair: Pair) -> None:
    """As the wait for a backend is ended when the client has gone."""
    stream, _ = watched(pair)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        other = Stream(ours)
        reader = waiting(lambda: other.recv(1))
        stream.set_on_gone(lambda: other.shutdown(socket.SHUT_RDWR))
        pair[1].close()
        assert reader.get(timeout=LONG) == b""
        other.close()


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(Path(tmp_path_factory.mktemp("stream")))


@pytest.fixture(scope="module")
def context(authority: Authority) -> ssl.SSLContext:
    return authority.server("127.0.0.1")


class TlsPeer:
    """A client under TLS: each thing it does is done on a thread, since it blocks."""

    def __init__(self, sock: socket.socket, authority: Authority) -> None:
        self._raw = sock
        self._context = authority.trust()
        self.tls: ssl.SSLSocket

    def shake(self) -> None:
        self.tls = self._context.wrap_socket(self._raw, server_hostname="127.0.0.1", suppress_ragged_eofs=False)

    @staticmethod
    def does(*steps: Callable[[], object]) -> Callable[[], list[object]]:
        """Begin the steps, one after another. Calling the result waits for their outcomes."""
        outcomes: list[object] = []

        def play() -> None:
            try:
                outcomes.extend(step() for step in steps)
            except Exception as error:
                outcomes.append(error)

        thread = threading.Thread(target=play, daemon=True)
        thread.start()

        def done() -> list[object]:
            reached(lambda: not thread.is_alive(), "the client is done")
            return outcomes

        return done

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count and (piece := self.tls.recv(count - len(data))):
            data += piece
        return data


def shake_hands(stream: TlsStream, peer: TlsPeer) -> None:
    """Complete the handshake, and read a byte from the peer."""
    done = peer.does(peer.shake, lambda: peer.tls.sendall(b"x"))
    assert stream.recv(1) == b"x"
    done()


@pytest.fixture
def peer(pair: Pair, authority: Authority) -> Iterator[TlsPeer]:
    peer = TlsPeer(pair[1], authority)
    yield peer
    if hasattr(peer, "tls"):
        peer.tls.close()


@in_a_hub
def test_the_first_read_shakes_hands(pair: Pair, peer: TlsPeer, context: ssl.SSLContext) -> None:
    stream = TlsStream(pair[0], context)
    done = peer.does(peer.shake, lambda: peer.tls.sendall(b"hello"), lambda: peer.read(7))
    assert stream.recv(2) == b"he"
    assert stream.recv(100) == b"llo"
    send_all(stream, b"welcome")
    assert done() == [None, None, b"welcome"]


@in_a_hub
def test_what_is_no_tls_is_an_error(pair: Pair, context: ssl.SSLContext) -> None:
    stream = TlsStream(pair[0], context)
    pair[1].sendall(b"\x00\x01\x02\x03 no TLS")
    with pytest.raises(ssl.SSLError):
        stream.recv(1)


@pytest.mark.parametrize("begins", [b"GET / HTTP/1.1\r\n", b"p", b"!", b"\r\nGET", b"CONNECT a:1 HTTP/1.1\r\n"])
@in_a_hub
def test_plain_http_is_named_and_answered_plainly(pair: Pair, context: ssl.SSLContext, begins: bytes) -> None:
    stream = TlsStream(pair[0], context)
    pair[1].sendall(begins)
    with pytest.raises(PlainHttp):
        stream.recv(1)
    send_all(stream, b"no")
    stream.shutdown(socket.SHUT_WR)
    assert pair[1].recv(100) + pair[1].recv(100) == b"no"
    pair[1].sendall(b"rest")
    assert stream.recv(100) == b"rest"


@in_a_hub
def test_a_client_that_goes_within_the_handshake_is_an_error_or_an_end(pair: Pair, context: ssl.SSLContext) -> None:
    stream = TlsStream(pair[0], context)
    pair[1].sendall(b"\x16\x03\x01")
    pair[1].close()
    with pytest.raises(OSError, match="EOF"):
        stream.recv(1)


@in_a_hub
def test_a_handshake_can_be_interrupted(pair: Pair, context: ssl.SSLContext) -> None:
    stream = TlsStream(pair[0], context)
    reader = waiting(lambda: stream.recv(1))
    stream.interrupt()
    with pytest.raises(TimeoutError):
        reader.get(timeout=LONG)


@in_a_hub
def test_large_bodies_cross_both_ways(pair: Pair, peer: TlsPeer, context: ssl.SSLContext) -> None:
    stream = TlsStream(pair[0], context)
    done = peer.does(peer.shake, lambda: peer.tls.sendall(MUCH), lambda: peer.read(len(MUCH)) == MUCH)
    assert read_all(stream, len(MUCH)) == MUCH
    send_all(stream, MUCH)
    assert done() == [None, None, True]


@in_a_hub
def test_records_of_two_senders_stay_whole(pair: Pair, peer: TlsPeer, context: ssl.SSLContext) -> None:
    """A reader has to say something too, when the client renews its keys (RFC 8446 §4.6.3), whoever else is sending."""
    stream = TlsStream(pair[0], context)
    shake_hands(stream, peer)
    sender = waiting(lambda: send_all(stream, MUCH))
    other = gevent.spawn(send_all, stream, b"y")
    turns(2)
    done = peer.does(lambda: peer.read(len(MUCH) + 1))
    gevent.joinall([sender, other], timeout=LONG, raise_error=True)
    (heard,) = done()
    assert isinstance(heard, bytes), heard
    assert heard.replace(b"y", b"") == MUCH


@in_a_hub
def test_an_interrupt_reaches_all_that_send_and_leaves_records_whole(
    pair: Pair, peer: TlsPeer, context: ssl.SSLContext
) -> None:
    """A greenlet that was interrupted within a record leaves the rest of it to the next one."""
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)  # one that the kernel enlarges has room again
    stream = TlsStream(pair[0], context)
    shake_hands(stream, peer)
    senders = [waiting(lambda: send_all(stream, MUCH))]
    turns(20)
    senders.append(waiting(lambda: send_all(stream, b"y" * 100)))
    stream.interrupt()
    for sender in senders:
        with pytest.raises(TimeoutError):
            sender.get(timeout=LONG)
    last = gevent.spawn(send_all, stream, b"z")
    heard = bytearray()

    def hear() -> None:
        while not heard.endswith(b"z"):
            heard.extend(peer.tls.recv(1 << 16))

    done = peer.does(hear)
    last.get(timeout=LONG)
    assert done() == [None]
    assert bytes(heard[:-101]) == MUCH[: len(heard) - 101]
    assert bytes(heard[-101:]) == b"y" * 100 + b"z"


@pytest.mark.parametrize("how", [socket.SHUT_RDWR, socket.SHUT_RD])
@in_a_hub
def test_an_end_from_outside_waits_for_nothing(pair: Pair, peer: TlsPeer, context: ssl.SSLContext, how: int) -> None:
    """What ends a wait that has lasted too long ends those of all other connections too."""
    stream = TlsStream(pair[0], context)
    shake_hands(stream, peer)
    sender = waiting(lambda: send_all(stream, MUCH))
    outside = gevent.spawn(stream.shutdown, how)
    outside.get(timeout=LONG)
    stream.close()
    with pytest.raises((BrokenPipeError, ConnectionResetError, TimeoutError)):
        sender.get(timeout=LONG)


@in_a_hub
def test_the_end_of_writing_is_sent_by_tls_and_reading_goes_on(
    pair: Pair, peer: TlsPeer, context: ssl.SSLContext
) -> None:
    """RFC 8446 §6.1: a client can tell this end from one that somebody else has made."""
    stream = TlsStream(pair[0], context)
    done = peer.does(
        peer.shake, lambda: peer.tls.sendall(b"a"), lambda: peer.tls.recv(100), lambda: peer.tls.sendall(b"thanks")
    )
    assert stream.recv(1) == b"a"
    stream.shutdown(socket.SHUT_WR)
    assert stream.recv(100) == b"thanks"
    assert done() == [None, None, b"", None]


@in_a_hub
def test_the_end_of_writing_loses_nothing_that_came_before(pair: Pair, peer: TlsPeer, context: ssl.SSLContext) -> None:
    """Several records come at once, and are read one by one."""
    stream = TlsStream(pair[0], context)
    said = MUCH[: 1 << 17]
    done = peer.does(peer.shake, lambda: peer.tls.sendall(said))
    first = stream.recv(1)
    done()
    first += stream.recv(1)
    stream.shutdown(socket.SHUT_WR)
    assert first + read_all(stream, len(said) - 2) == said


def says_goodbye(peer: TlsPeer) -> None:
    peer.tls.settimeout(0)
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.unwrap()


def ends(peer: TlsPeer) -> None:
    """Without a word of TLS."""
    socket.socket.shutdown(peer.tls, socket.SHUT_WR)


@pytest.mark.parametrize("goes", [says_goodbye, ends])
@in_a_hub
def test_the_end_of_a_client_is_the_end_in_any_form(
    pair: Pair, peer: TlsPeer, context: ssl.SSLContext, goes: Callable[[TlsPeer], None]
) -> None:
    stream = TlsStream(pair[0], context)
    done = peer.does(peer.shake, lambda: peer.tls.sendall(b"bye"), lambda: goes(peer))
    assert read_all(stream, 100) == b"bye"
    assert done() == [None, None, None]


@pytest.mark.parametrize("goes", [says_goodbye, ends])
@in_a_hub
def test_a_client_under_tls_that_leaves_without_a_reader_is_noticed_once(
    pair: Pair, peer: TlsPeer, context: ssl.SSLContext, goes: Callable[[TlsPeer], None]
) -> None:
    stream, told = TlsStream(pair[0], context), []
    stream.set_on_gone(lambda: told.append("gone"))
    shake_hands(stream, peer)
    goes(peer)
    reached(lambda: stream.gone, "it is noticed")
    turns()
    assert told == ["gone"]


@in_a_hub
def test_data_under_tls_without_a_reader_is_kept(pair: Pair, peer: TlsPeer, context: ssl.SSLContext) -> None:
    """As the next request of a client that does not wait for its answer; it can also be had at once."""
    stream, told = TlsStream(pair[0], context), []
    stream.set_on_gone(lambda: told.append("gone"))
    assert stream.recv_at_once(100) == b""
    shake_hands(stream, peer)
    assert stream.recv_at_once(100) == b""
    peer.tls.sendall(b"hello" + MUCH[: 1 << 16])
    ends(peer)
    taken = bytearray()

    def take() -> bool:
        taken.extend(stream.recv_at_once(2))
        return bool(taken)

    reached(take, "it was decrypted on the way")
    assert bytes(taken) == b"he"
    assert read_all(stream, 1 << 20) == b"llo" + MUCH[: 1 << 16]
    assert (stream.gone, told) == (False, [])


def arrived(sock: socket.socket) -> int:
    """Bytes that can be read from the socket."""
    return int.from_bytes(ioctl(sock, FIONREAD, bytes(4)), sys.byteorder)


@in_a_hub
def test_a_read_takes_all_records_that_have_arrived(pair: Pair, peer: TlsPeer, context: ssl.SSLContext) -> None:
    """A record has 16 KiB at most: an upload would pass through the whole pipeline for each."""
    stream = TlsStream(pair[0], context)
    shake_hands(stream, peer)
    for begin in range(0, 6_000, 2_000):
        peer.tls.sendall(MUCH[begin : begin + 2_000])
    eventually(lambda: arrived(pair[0]) > 6_000, "the kernel has delivered them")
    assert stream.recv(100) == MUCH[:100], "at most what was wanted"
    assert stream.recv(1 << 16) == MUCH[100:6_000]


@pytest.mark.parametrize("goes", [says_goodbye, ends])
@in_a_hub
def test_the_end_of_a_client_remains_the_end(
    pair: Pair, peer: TlsPeer, context: ssl.SSLContext, goes: Callable[[TlsPeer], None]
) -> None:
    stream = TlsStream(pair[0], context)
    done = peer.does(peer.shake, lambda: goes(peer))
    assert [stream.recv(10) for _ in range(3)] == [b""] * 3
    assert done() == [None, None]


@in_a_hub
def test_a_session_that_was_resumed_is_reported(pair: Pair, authority: Authority, context: ssl.SSLContext) -> None:
    client = authority.trust()
    reported: list[tuple[Exception | None, bool]] = []
    session = None
    for sockets in (pair, socket.socketpair()):
        stream = TlsStream(sockets[0], context, lambda error, resumed: reported.append((error, resumed)))
        tls, shake = client_side(client, sockets[1], session)
        done = TlsPeer.does(shake)
        assert stream.recv(1) == b"x"
        send_all(stream, b"y")
        done()
        session = tls[0].session
        tls[0].close()
        stream.close()
    assert reported == [(None, False), (None, True)]


def client_side(
    context: ssl.SSLContext, sock: socket.socket, session: ssl.SSLSession | None
) -> tuple[list[ssl.SSLSocket], Callable[[], None]]:
    """What a client does for one connection; the list gets its socket."""
    made: list[ssl.SSLSocket] = []

    def shake() -> None:
        made.append(context.wrap_socket(sock, server_hostname="127.0.0.1", session=session))
        made[0].sendall(b"x")
        made[0].recv(1)

    return made, shake
