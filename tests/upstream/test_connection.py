"""One exchange with a backend, byte for byte, against backends that play a script."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import cast

import pytest

from devtools.scripted_backend import OK, Peer, Script, ScriptedBackend, answering, answering_and_closing
from devtools.wait import PATIENCE, eventually
from lbflask.core.faults import Blame, ClientLeft, Fault, FoundDown, Stage
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.dialer import Dialer
from lbflask.upstream.response_reader import MAX_HEAD, ResponseReader
from lbflask.upstream.stream import ExchangeTimeouts, NetworkStream
from tests.support.outgoing import raw_request

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST_100 = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"
LONG = PATIENCE


@contextmanager
def connected(*scripts: Script) -> Iterator[tuple[UpstreamConnection, ScriptedBackend]]:
    """A connection to a backend that plays the script."""
    with ScriptedBackend(*scripts) as backend:
        connection = Dialer().open(backend.address, LONG, 0.0)
        try:
            yield connection, backend
        finally:
            connection.close()


def ask(
    connection: UpstreamConnection,
    method: str = "GET",
    head: bytes = GET,
    body: Iterable[bytes] | None = None,
    chunked: bool = False,
    first_byte: float = LONG,
    between_bytes: float = LONG,
) -> ResponseReader:
    return connection.exchange(
        raw_request(method, head, body, chunked=chunked), ExchangeTimeouts(first_byte, between_bytes)
    )


def body_of(answer: ResponseReader) -> bytes:
    return b"".join(answer.pieces())


def answer_to(response: bytes, method: str = "GET") -> tuple[ResponseReader, bytes]:
    """What becomes of a response after which the backend closes."""
    with connected(answering_and_closing(response)) as (connection, _):
        answer = ask(connection, method)
        return answer, body_of(answer)


def fault_of(response: bytes, method: str = "GET") -> Fault:
    """The fault that a response is, after which the backend closes."""
    with pytest.raises(Fault) as caught:
        answer_to(response, method)
    return caught.value


def told(fault: Fault) -> tuple[Blame, Stage, int]:
    return fault.blame, fault.stage, fault.status


class SlowSocket:
    """Takes a few bytes at a time, and gives one at a time. Has no `sendall`, whose time-out is for all of them."""

    def __init__(self, response: bytes) -> None:
        self.sent = b""
        self._response = response

    def fileno(self) -> int:
        return -1

    def settimeout(self, seconds: float) -> None:
        pass

    def send(self, data: bytes) -> int:
        self.sent += bytes(data[:7])
        return len(data[:7])

    def recv(self, _: int) -> bytes:
        byte, self._response = self._response[:1], self._response[1:]
        return byte


# What a response is


def test_a_body_of_known_length_is_read_to_its_length() -> None:
    answer, body = answer_to(b"HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello")
    assert (answer.status, answer.reason, body) == (200, "Fine", b"hello")
    assert answer.fields == [("Content-Length", "5"), ("X-A", "b")]


def test_a_chunked_body_is_read_without_its_framing() -> None:
    """RFC 9112 §7.1; chunk extensions are no part of the body."""
    answer, body = answer_to(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;name=value\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    )
    assert body == b"hello world"
    assert answer.complete


def test_trailers_are_not_taken_for_fields_of_the_head() -> None:
    """R26."""
    answer, body = answer_to(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: late\r\n\r\n"
    )
    assert body == b"ok"
    assert answer.fields == [("Transfer-Encoding", "chunked")]


def test_a_body_without_a_length_lasts_until_the_backend_closes() -> None:
    """RFC 9112 §6.3."""
    with connected(answering_and_closing(b"HTTP/1.1 200 OK\r\n\r\nall of it")) as (connection, _):
        assert body_of(ask(connection)) == b"all of it"
        assert not connection.reusable


def test_an_empty_body_is_a_body() -> None:
    answer, body = answer_to(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert body == b""
    assert answer.whole() == b""


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", b"200 OK"), ("GET", b"204 No Content"), ("GET", b"304 Not Modified")]
)
def test_a_response_that_cannot_have_a_body_ends_with_its_head(method: str, status: bytes) -> None:
    """R25, RFC 9112 §6.3: HEAD, 204 and 304 keep their Content-Length, and nothing follows. The backend stays open,
    so whoever waited for a body would wait for ever.
    """
    done = threading.Event()

    def play(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 " + status + b"\r\nContent-Length: 1234\r\n\r\n")
        peer.wait(done)

    with connected(play) as (connection, _):
        answer = ask(connection, method)
        assert answer.whole() == b""
        assert answer.fields == [("Content-Length", "1234")]
        assert connection.reusable
        done.set()


def test_a_chunked_response_to_head_ends_with_its_head() -> None:
    """RFC 9112 §6.3, rule 1."""
    with connected(answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")) as (connection, _):
        assert body_of(ask(connection, "HEAD")) == b""
        assert connection.reusable


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 Very fine\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
        b"HTTP/1.1 200 Very fine\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.1 200 Very fine\r\nX-A: b\r\n\r\nhello",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 Very fine\r\nX-A: b\r\n\r\nhello",
    ],
    ids=["length", "chunked", "until-close", "interim"],
)
def test_a_response_may_arrive_byte_by_byte(response: bytes) -> None:
    answer = ask(UpstreamConnection(cast("NetworkStream", SlowSocket(response)), 0.0))
    assert (answer.status, answer.reason) == (200, "Very fine")
    assert ("X-A", "b") in answer.fields
    assert "Link" not in dict(answer.fields)
    assert body_of(answer) == b"hello"


def test_fields_keep_their_order_case_and_repeats() -> None:
    """R5: each Set-Cookie stays a line of its own (RFC 9110 §5.3, RFC 6265 §3)."""
    answer, _ = answer_to(
        b"HTTP/1.1 200 OK\r\nset-cookie: a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT\r\nContent-Length: 0\r\n"
        b"X-lower: 1\r\nSet-Cookie: b=2\r\n\r\n"
    )
    assert answer.fields == [
        ("set-cookie", "a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT"),
        ("Content-Length", "0"),
        ("X-lower", "1"),
        ("Set-Cookie", "b=2"),
    ]


def test_no_byte_of_a_field_or_reason_is_damaged() -> None:
    """R22: values are latin-1 all the way, so the bytes of UTF-8 survive too."""
    answer, _ = answer_to(b"HTTP/1.1 200 Tr\xe8s bien\r\nContent-Length: 0\r\nX-Name: caf\xc3\xa9 \xff\r\n\r\n")
    assert answer.reason.encode("latin-1") == b"Tr\xe8s bien"
    assert dict(answer.fields)["X-Name"].encode("latin-1") == b"caf\xc3\xa9 \xff"


@pytest.mark.parametrize("status_line", [b"HTTP/1.1 200", b"HTTP/1.1 200 "])
def test_a_status_line_needs_no_reason(status_line: bytes) -> None:
    """RFC 9112 §4."""
    answer, body = answer_to(status_line + b"\r\nContent-Length: 2\r\n\r\nok")
    assert (answer.status, answer.reason, body) == (200, "", b"ok")


def test_blanks_around_a_content_length_are_not_of_it() -> None:
    """RFC 9112 §5."""
    answer, body = answer_to(b"HTTP/1.1 200 OK\r\nContent-Length:   2 \t \r\n\r\nok")
    assert body == b"ok"
    assert answer.framing.length == 2


def test_a_redirect_is_passed_on_with_its_body_untouched() -> None:
    """R1."""
    answer, body = answer_to(b"HTTP/1.1 302 Found\r\nLocation: /else\xe9where\r\nContent-Length: 5\r\n\r\nhello")
    assert (answer.status, body) == (302, b"hello")
    assert dict(answer.fields)["Location"] == "/else\xe9where"


def test_a_gzip_body_is_not_decoded() -> None:
    """R10: even one that is no gzip at all."""
    answer, body = answer_to(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08!")
    assert body == b"\x1f\x8b\x08!"
    assert ("Content-Encoding", "gzip") in answer.fields


# Interim responses


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    ],
    ids=["100", "102", "103", "many"],
)
def test_interim_responses_are_passed_over(interim: bytes) -> None:
    """R2, RFC 9110 §15.2: what follows is the answer, and nothing stays behind on the connection."""
    with connected(answering(interim + b"HTTP/1.1 201 Made\r\nContent-Length: 2\r\n\r\nok")) as (connection, _):
        answer = ask(connection)
        assert (answer.status, answer.reason, answer.fields) == (201, "Made", [("Content-Length", "2")])
        assert answer.whole() == b"ok"
        assert connection.reusable


@pytest.mark.parametrize("upgrade", [b"Upgrade: h2c\r\nConnection: upgrade\r\n", b""])
def test_a_switch_of_protocols_that_was_not_asked_for_is_a_fault(upgrade: bytes) -> None:
    """R3, RFC 9110 §15.2.2."""
    fault = fault_of(b"HTTP/1.1 101 Switching Protocols\r\n" + upgrade + b"\r\n" + OK)
    assert told(fault) == (Blame.BACKEND, Stage.WAIT, 502)
    assert "protocol" in fault.reason


def test_nothing_but_interim_responses_is_no_response() -> None:
    fault = fault_of(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert told(fault) == (Blame.BACKEND, Stage.WAIT, 502)
    assert fault.answered


def test_endless_interim_responses_are_a_fault() -> None:
    fault = fault_of(b"HTTP/1.1 102 Processing\r\n\r\n" * (MAX_HEAD // 20))
    assert told(fault) == (Blame.BACKEND, Stage.WAIT, 502)
    assert "longer" in fault.reason


# What is no response


@pytest.mark.parametrize(
    "junk",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x15\x03\x01\x00\x02\x02\x0a",
        b"hello\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.7 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: b\r\n folded\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: b\x00c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: b\rX-B: c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nok",
    ],
)
def test_what_is_no_http_response_is_the_backends_fault(junk: bytes) -> None:
    """RFC 9112 §4 and §5: junk, status lines and fields out of form, folded lines (§5.2), lone LF and CR (§2.2)."""
    fault = fault_of(junk)
    assert told(fault) == (Blame.BACKEND, Stage.WAIT, 502)
    assert fault.answered


@pytest.mark.parametrize(
    "framing",
    [
        b"Transfer-Encoding: chunked\r\nContent-Length: 2",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        b"Content-Length: 2\r\nContent-Length: 3",
        b"Content-Length: 2\r\nContent-Length: 2",
        b"Content-Length: 2, 2",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, gzip",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: xchunked",
    ],
)
def test_a_response_whose_length_is_in_doubt_is_the_backends_fault(framing: bytes) -> None:
    """R12, RFC 9112 §6.3: two answers to how long the body is are how responses are smuggled."""
    fault = fault_of(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    assert told(fault) == (Blame.BACKEND, Stage.WAIT, 502)


@pytest.mark.parametrize(
    "bomb",
    [b"X-A: " + b"a" * (2 * MAX_HEAD), (b"X-A: " + b"b" * 500 + b"\r\n") * 500],
    ids=["one-field", "many-fields"],
)
def test_a_head_without_end_is_a_fault(bomb: bytes) -> None:
    """R21: the limit is on all of the head, so one long field counts as much as many short ones."""
    fault = fault_of(b"HTTP/1.1 200 OK\r\n" + bomb)
    assert told(fault) == (Blame.BACKEND, Stage.WAIT, 502)
    assert "longer" in fault.reason


def test_more_fields_than_anybody_needs_are_a_fault() -> None:
    """R21."""
    fault = fault_of(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 1001 + b"Content-Length: 0\r\n\r\n")
    assert told(fault) == (Blame.BACKEND, Stage.WAIT, 502)
    assert "more than 1000 fields" in fault.reason


def test_many_fields_within_the_limit_are_taken() -> None:
    """R21: more than the 100 of http.client."""
    answer, _ = answer_to(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 500 + b"Content-Length: 0\r\n\r\n")
    assert answer.fields.count(("X-A", "b")) == 500


@pytest.mark.parametrize("chunks", [b"zz\r\nok\r\n", b"2\r\nokay\r\n0\r\n\r\n", b"2\nok\n0\n\n", b"-2\r\nok\r\n"])
def test_a_bad_chunk_is_a_fault_within_the_body(chunks: bytes) -> None:
    """RFC 9112 §7.1."""
    gone_on = threading.Event()

    def play(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        peer.wait(gone_on)
        peer.send(chunks)
        peer.read_to_end()

    with connected(play) as (connection, _):
        answer = ask(connection)
        gone_on.set()
        with pytest.raises(Fault) as caught:
            body_of(answer)
    assert told(caught.value) == (Blame.BACKEND, Stage.BODY, 502)


# Where it breaks off


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ],
)
def test_a_body_that_is_cut_short_is_a_fault_within_the_body(response: bytes) -> None:
    """R13, RFC 9112 §8."""
    fault = fault_of(response)
    assert told(fault) == (Blame.BACKEND, Stage.BODY, 502)
    assert fault.answered


def test_the_pieces_before_the_cut_are_delivered() -> None:
    with connected(answering_and_closing(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")) as (connection, _):
        pieces = ask(connection).pieces()
        assert next(piece for piece in pieces if piece) == b"hello"
        with pytest.raises(Fault):
            next(pieces)


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nContent-Le"], ids=["nothing", "part-of-the-head"])
def test_a_close_before_the_head_is_a_fault_while_waiting(part: bytes) -> None:
    fault = fault_of(part)
    assert told(fault) == (Blame.BACKEND, Stage.WAIT, 502)
    assert fault.answered == bool(part)
    assert not fault.reused


def test_a_reset_before_the_head_is_a_fault_while_waiting() -> None:
    def play(peer: Peer) -> None:
        peer.read_request()
        peer.reset()

    with connected(play) as (connection, _), pytest.raises(Fault) as caught:
        ask(connection)
    assert told(caught.value) == (Blame.BACKEND, Stage.WAIT, 502)
    assert not caught.value.answered


def test_a_reset_after_the_head_is_a_fault_within_the_body() -> None:
    head_read = threading.Event()

    def play(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        peer.wait(head_read)
        peer.reset()

    with connected(play) as (connection, _):
        answer = ask(connection)
        head_read.set()
        with pytest.raises(Fault) as caught:
            body_of(answer)
    assert told(caught.value) == (Blame.BACKEND, Stage.BODY, 502)
    assert caught.value.answered


# Time-outs


def silent_after(response: bytes) -> Script:
    def play(peer: Peer) -> None:
        peer.read_request()
        peer.send(response)
        peer.read_to_end()

    return play


def test_a_first_byte_that_takes_too_long_is_a_timeout_while_waiting() -> None:
    with connected(silent_after(b"")) as (connection, _), pytest.raises(Fault) as caught:
        ask(connection, first_byte=0.05)
    assert told(caught.value) == (Blame.BACKEND, Stage.WAIT, 504)
    assert not caught.value.answered


def test_silence_within_the_head_is_a_timeout_while_waiting() -> None:
    with connected(silent_after(b"HTTP/1.1 200")) as (connection, _), pytest.raises(Fault) as caught:
        ask(connection, between_bytes=0.05)
    assert told(caught.value) == (Blame.BACKEND, Stage.WAIT, 504)
    assert caught.value.answered


def test_silence_within_the_body_is_a_timeout_within_the_body() -> None:
    with connected(silent_after(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhell")) as (connection, _):
        answer = ask(connection, between_bytes=0.05)
        with pytest.raises(Fault) as caught:
            body_of(answer)
    assert told(caught.value) == (Blame.BACKEND, Stage.BODY, 504)


def test_a_backend_that_does_not_read_is_a_timeout_while_sending() -> None:
    done = threading.Event()
    with connected(lambda peer: peer.wait(done)) as (connection, _):
        with pytest.raises(Fault) as caught:
            ask(connection, "POST", POST_100, (b"x" * 65_536 for _ in range(2000)), between_bytes=0.05)
        done.set()
    assert told(caught.value) == (Blame.BACKEND, Stage.SEND, 504)


def waiting(connection: UpstreamConnection, faults: list[Fault]) -> threading.Thread:
    """A thread whose request waits for its first byte."""

    def wait() -> None:
        with pytest.raises(Fault) as caught:
            ask(connection)
        faults.append(caught.value)

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(lambda: connection.silent_since() is not None, "the request was sent")
    return thread


def test_a_wait_for_the_first_byte_ends_when_the_backend_is_found_down() -> None:
    faults: list[Fault] = []
    with connected(silent_after(b"")) as (connection, _):
        assert connection.silent_since() is None
        assert not connection.give_up()
        began = time.monotonic()
        thread = waiting(connection, faults)
        assert (connection.silent_since() or 0) >= began
        assert connection.give_up()
        thread.join(LONG)
    assert isinstance(faults[0], FoundDown)
    assert 0 <= faults[0].silence < LONG


def test_a_client_that_leaves_shows_for_how_long_the_backend_was_silent() -> None:
    faults: list[Fault] = []
    with connected(silent_after(b"")) as (connection, _):
        thread = waiting(connection, faults)
        connection.abandon(connection.exchanges)
        thread.join(LONG)
    assert isinstance(faults[0], ClientLeft)
    assert 0 < faults[0].silence < LONG


def test_a_response_that_has_begun_is_not_given_up() -> None:
    with connected(silent_after(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhell")) as (connection, _):
        ask(connection)
        assert connection.silent_since() is None
        assert not connection.give_up()
        assert not connection.timed_out


# Bodies that are sent


def test_a_body_of_known_length_goes_out_as_it_is() -> None:
    """R4."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
    with connected(answering(OK)) as (connection, backend):
        ask(connection, "POST", head, [b"he", b"llo"])
        assert backend.received == head + b"hello"


def test_a_chunked_body_goes_out_piece_by_piece() -> None:
    """R4, R23: one chunk a piece, and the last one ends it."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connected(answering(OK)) as (connection, backend):
        ask(connection, "POST", head, [b"he", b"llo world, llo world"], chunked=True)
        assert backend.received == head + b"2\r\nhe\r\n14\r\nllo world, llo world\r\n0\r\n\r\n"


def test_pieces_are_sent_as_they_come() -> None:
    """R23: a piece does not wait for the next one."""
    arrived = threading.Event()

    def play(peer: Peer) -> None:
        peer.read_until(b"first")
        arrived.set()
        peer.read_until(b"second")
        peer.send(OK)

    def body() -> Iterator[bytes]:
        yield b"first"
        assert arrived.wait(LONG)
        yield b"second"

    with connected(play) as (connection, _):
        assert ask(connection, "POST", POST_100, body()).status == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_backend_that_takes_the_request_slowly_is_not_silent(chunked: bool) -> None:
    """R14: between two bytes there is a time-out, for all of them together there is none."""
    sock = SlowSocket(OK)
    connection = UpstreamConnection(cast("NetworkStream", sock), 0.0)
    body = b"0123456789" * 10
    assert ask(connection, "POST", POST_100, [body], chunked).status == 200
    assert sock.sent == POST_100 + (b"64\r\n" + body + b"\r\n0\r\n\r\n" if chunked else body)


def test_an_answer_before_the_end_of_the_upload_is_delivered() -> None:
    """R24, RFC 9112 §9.5: the backend refuses and closes; the client is owed the refusal, not a 502."""
    closed = threading.Event()

    def play(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nmuch")
        peer.close()
        closed.set()

    def body() -> Iterator[bytes]:
        yield b"x"
        assert closed.wait(LONG)
        for _ in range(1000):
            yield b"x" * 65_536

    with connected(play) as (connection, _):
        answer = ask(connection, "POST", POST_100, body())
        assert (answer.status, body_of(answer)) == (413, b"much")
        assert not connection.reusable


def test_a_backend_that_closes_within_the_upload_without_an_answer_is_to_blame() -> None:
    def play(peer: Peer) -> None:
        peer.read_head()
        peer.reset()

    with connected(play) as (connection, _), pytest.raises(Fault) as caught:
        ask(connection, "POST", POST_100, (b"x" * 65_536 for _ in range(1000)))
    assert caught.value.blame is Blame.BACKEND
    assert caught.value.status == 502
    assert not caught.value.answered


def test_the_clients_own_failure_passes_through() -> None:
    """R6: a body that breaks off is never taken for a failure of the backend's."""
    failure = Fault(Blame.CLIENT, Stage.SEND, 400, "hung up")

    def body() -> Iterator[bytes]:
        yield b"x"
        raise failure

    with connected(answering(OK)) as (connection, _), pytest.raises(Fault) as caught:
        ask(connection, "POST", POST_100, body())
    assert caught.value is failure


# Whether the connection may be used again


def test_a_connection_carries_one_exchange_after_another() -> None:
    with connected(answering(OK, b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")) as (connection, backend):
        ask(connection)
        assert connection.reusable
        assert ask(connection).status == 404
        assert connection.exchanges == 2
        assert len(backend.connections) == 1


@pytest.mark.parametrize(
    ("response", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", False),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", False),
        (b"HTTP/1.1 200 OK\r\nConnection: Foo, CLOSE\r\nContent-Length: 2\r\n\r\nok", False),
        (b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + OK, False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore", False),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", False),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok", False),
    ],
)
def test_a_connection_is_reusable_only_when_both_sides_keep_it_and_nothing_is_left(
    response: bytes, reusable: bool
) -> None:
    """RFC 9112 §9.3 and §9.2: bytes after a response would be taken for the next one."""
    with connected(answering(response)) as (connection, _):
        answer = ask(connection)
        body_of(answer)
        assert connection.reusable is reusable


@pytest.mark.parametrize(
    ("response", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 500 Other\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 5", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", False),
    ],
)
def test_after_a_response_to_head_the_same_holds(response: bytes, reusable: bool) -> None:
    with connected(answering(response)) as (connection, _):
        answer = ask(connection, "HEAD")
        assert (answer.status, answer.whole()) == (200, b"")
        assert connection.reusable is reusable


def test_what_comes_behind_a_response_is_no_part_of_it() -> None:
    """RFC 9112 §9.2: neither its reason nor its fields, which would pass for trailers, however many there are."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n"
    behind = b"HTTP/1.1 404 Not Found\r\n" + b"X-Behind: 1\r\n" * 1001 + b"Content-Length: 0\r\n\r\n"
    with connected(answering(chunked + behind)) as (connection, _):
        answer = ask(connection)
        assert body_of(answer) == b"ok"
        assert (answer.status, answer.reason, answer.trailers) == (200, "OK", [("X-Trailer", "1")])
        assert not connection.reusable


def test_an_unfinished_response_keeps_its_connection() -> None:
    with connected(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhell")) as (connection, _):
        answer = ask(connection)
        assert answer.whole() is None
        assert not connection.reusable


def test_a_stale_connection_is_told_apart_from_a_failed_one() -> None:
    """R15, RFC 9112 §9.3.1: it had served before, and no byte of an answer came."""
    with connected(answering_and_closing(OK)) as (connection, backend):
        ask(connection)
        assert backend.connection(0).ended.wait(LONG)
        with pytest.raises(Fault) as caught:
            ask(connection)
    fault = caught.value
    assert (fault.reused, fault.answered) == (True, False)
    assert fault.stage in (Stage.SEND, Stage.WAIT)
    assert told(fault)[::2] == (Blame.BACKEND, 502)


def test_an_idle_connection_is_quiet_until_the_backend_closes_or_speaks() -> None:
    """R15."""
    speak, close = threading.Event(), threading.Event()

    def speaks(peer: Peer) -> None:
        peer.wait(speak)
        peer.send(b"!")
        peer.read_to_end()

    def closes(peer: Peer) -> None:
        peer.wait(close)

    with connected(speaks) as (connection, _):
        assert connection.is_alive()
        assert connection.is_silent()
        speak.set()
        eventually(lambda: not connection.is_alive(), "the byte is noticed")
        assert not connection.is_silent()
    with connected(closes) as (connection, _):
        assert connection.is_alive()
        close.set()
        eventually(lambda: not connection.is_alive(), "the end is noticed")


def test_the_head_is_known_before_the_body_comes() -> None:
    """The first piece is empty when nothing came with the head, which can then be passed on at once."""
    go_on = threading.Event()

    def play(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        peer.wait(go_on)
        peer.send(b"ok")

    with connected(play) as (connection, _):
        answer = ask(connection)
        pieces = answer.pieces()
        assert next(pieces) == b""
        go_on.set()
        assert b"".join(pieces) == b"ok"
