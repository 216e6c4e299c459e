"""Bodies on their way: nothing waits for the rest, and what breaks off looks broken off on the other side."""

from __future__ import annotations

from queue import Queue
from threading import Event

import pytest

from devtools.raw_client import ConnectionCut, RawClient, RawResponse
from devtools.scripted_backend import OK, Peer
from devtools.wait import PATIENCE
from tests.conformance.cases import NEXT, ask, assert_alive, chunked, chunks, post, reply, sized
from tests.conformance.servers import BODY_LIMIT, Rig
from tests.support.programmed import ProgrammedBackend, Received, next_of, says, unchunked

CHUNKED = b"Transfer-Encoding: chunked"
POST_CHUNKS = ask(CHUNKED, method=b"POST")


def steps(rest: bytes, first: bytes) -> tuple[Queue[bytes], object]:
    """An answer that sends `first`, waits until the queue is fed, and sends the rest."""
    heard: Queue[bytes] = Queue()

    def answer(peer: Peer, request: Received) -> None:
        peer.read_body(request.head)
        peer.send(first)
        next_of(heard)
        peer.send(rest)

    return heard, answer


# Responses as they come


@pytest.mark.parametrize(
    ("head", "first", "rest"),
    [
        (reply(b"Content-Length: 10"), b"hello", b"world"),
        (reply(CHUNKED), b"5\r\nhello\r\n", b"5\r\nworld\r\n0\r\n\r\n"),
    ],
    ids=["known length", "chunked"],
)
def test_a_piece_of_a_response_does_not_wait_for_the_next(
    head: bytes, first: bytes, rest: bytes, rig: Rig, client: RawClient
) -> None:
    """R11, RFC 9112 §7.1."""
    heard, rig.backend.answer = steps(rest, head + first)
    client.send(ask())
    try:
        client.head()
        assert client.read_until(b"hello").endswith(b"hello")
    finally:
        heard.put(b"")
    assert client.read_until(b"world").endswith(b"world")
    if head.endswith(b"chunked\r\n\r\n"):
        client.read_until(b"0\r\n\r\n")
    assert_alive(rig, client)


def test_a_head_does_not_wait_for_its_body(rig: Rig, client: RawClient) -> None:
    """R11: an event stream opens when it is opened."""
    heard, rig.backend.answer = steps(b"5\r\nhello\r\n0\r\n\r\n", reply(CHUNKED, b"Content-Type: text/event-stream"))
    client.send(ask(b"Accept: text/event-stream"))
    try:
        assert client.head().values(b"content-type") == [b"text/event-stream"]
    finally:
        heard.put(b"")
    assert client.read_until(b"0\r\n\r\n") == b"5\r\nhello\r\n0\r\n\r\n"


def test_events_leave_one_by_one(rig: Rig, client: RawClient) -> None:
    """R11: each is there before the next is made, whatever its size; here until the close."""
    wanted: Queue[bytes] = Queue()

    def answer(peer: Peer, request: Received) -> None:
        peer.send(reply(b"Content-Type: text/event-stream"))
        while event := next_of(wanted):
            peer.send(b"data: " + event + b"\n\n")
        peer.close()

    rig.backend.answer = answer
    client.send(ask())
    client.head()
    for number in range(5):
        wanted.put(b"%d" % number)
        assert client.read_until(b"\n\n").endswith(b"data: %d\n\n" % number)
    wanted.put(b"")
    assert client.read_until(b"0\r\n\r\n")
    assert_alive(rig, client)


# Uploads as they come


@pytest.mark.parametrize(
    ("head", "first", "rest"),
    [
        (ask(b"Content-Length: 10", method=b"POST"), b"hello", b"world"),
        (POST_CHUNKS, b"5\r\nhello\r\n", b"5\r\nworld\r\n0\r\n\r\n"),
    ],
    ids=["known length", "chunked"],
)
def test_a_piece_of_an_upload_does_not_wait_for_the_next(
    head: bytes, first: bytes, rest: bytes, client: RawClient, backend: ProgrammedBackend
) -> None:
    """G17: the backend has the first piece before the client sends the second."""
    seen: Queue[bytes] = Queue()

    def answer(peer: Peer, request: Received) -> None:
        seen.put(peer.read_until(b"hello"))
        seen.put(peer.read_until(b"world"))
        if b"chunked" in head:
            peer.read_until(b"0\r\n\r\n")
        peer.send(OK)

    backend.answer = answer
    client.send(head + first)
    assert next_of(seen).endswith(b"hello")
    client.send(rest)
    assert next_of(seen).endswith(b"world")
    assert client.answer().body == b"ok"


def test_an_upload_begins_before_its_first_piece_is_there(client: RawClient, backend: ProgrammedBackend) -> None:
    """G17: the backend hears of the request, and can prepare itself."""
    came = Event()

    def answer(peer: Peer, request: Received) -> None:
        came.set()
        peer.read_body(request.head)
        peer.send(OK)

    backend.answer = answer
    client.send(POST_CHUNKS)
    assert came.wait(PATIENCE)
    client.send(chunks(b"hello"))
    assert client.answer().body == b"ok"


def test_a_large_upload_arrives_byte_for_byte(client: RawClient, backend: ProgrammedBackend) -> None:
    """R23."""
    body = bytes(range(256)) * 700
    bodies = backend.takes_the_body()
    client.send(post(body))
    assert client.answer().status == 200
    assert next_of(bodies) == body
    client.send(chunked(*[body[at : at + 977] for at in range(0, len(body), 977)]))
    assert client.answer().status == 200
    assert unchunked(next_of(bodies)) == (body, [])


def test_a_large_response_arrives_byte_for_byte(client: RawClient, backend: ProgrammedBackend) -> None:
    """R10, R11: larger than what any buffer holds."""
    body = bytes(range(256)) * 8_000
    backend.answer = says(sized(body))
    assert client.ask(ask()).body == body
    backend.answer = says(reply(CHUNKED, body=chunks(*[body[at : at + 9_973] for at in range(0, len(body), 9_973)])))
    assert client.ask(ask()).body == body


def test_a_body_that_is_not_read_is_not_read_on_behalf_of_the_next_request(
    client: RawClient, backend: ProgrammedBackend
) -> None:
    """G19, RFC 9112 §9.3: a refused request's body is not the next request."""
    body = NEXT * 3
    client.send(ask(b"Content-Length: %d" % len(body), method=b"POST", target=b"/#") + body)
    answer = client.answer()
    assert answer.status == 400
    assert answer.values(b"connection") == [b"close"]
    assert backend.requests == []


# Both ways at once


def test_an_early_answer_reaches_a_client_that_is_still_sending(client: RawClient, backend: ProgrammedBackend) -> None:
    """R24, RFC 9112 §9.5: at once, though the client has said nothing further."""

    def answer(peer: Peer, request: Received) -> None:
        peer.read(5)
        peer.send(sized(b"no", status=b"403 Forbidden"))
        peer.close()

    backend.answer = answer
    client.send(ask(b"Content-Length: 100000", method=b"POST") + b"hello")
    answered = client.answer()
    assert (answered.status, answered.body) == (403, b"no")
    assert answered.values(b"connection") == [b"close"]


def test_an_early_answer_over_a_connection_that_stays_open(client: RawClient, backend: ProgrammedBackend) -> None:
    """R24: nor does it wait for the rest of the upload where the backend keeps its side open."""
    done = Event()

    def answer(peer: Peer, request: Received) -> None:
        peer.read_until(b"hello")
        peer.send(sized(b"no", status=b"413 Too Large"))
        peer.wait(done)

    backend.answer = answer
    client.send(POST_CHUNKS + b"5\r\nhello\r\n")
    try:
        answered = client.answer()
    finally:
        done.set()
    assert (answered.status, answered.body) == (413, b"no")


def test_a_backend_may_respond_before_it_has_the_whole_request(client: RawClient, backend: ProgrammedBackend) -> None:
    """R24, RFC 9112 §9.5: full duplex, as for a call that streams both ways."""

    def answer(peer: Peer, request: Received) -> None:
        peer.send(reply(CHUNKED))
        for _ in range(3):
            piece = peer.read_until(b"\r\n") + peer.read_until(b"\r\n")
            peer.send(piece)
        assert peer.read_until(b"0\r\n\r\n") == b"0\r\n\r\n"
        peer.send(b"0\r\n\r\n")

    backend.answer = answer
    client.send(POST_CHUNKS)
    head = client.head()
    assert head.status == 200
    for word in (b"one", b"two", b"six"):
        client.send(b"3\r\n" + word + b"\r\n")
        assert client.read_until(word + b"\r\n") == b"3\r\n" + word + b"\r\n"
    client.send(b"0\r\n\r\n")
    assert client.read_until(b"0\r\n\r\n") == b"0\r\n\r\n"
    if head.values(b"connection") == [b"close"]:
        assert client.rest() == b""
    else:
        assert client.ask(NEXT).status == 200


# What breaks off


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize(
    "said",
    [reply(b"Content-Length: 100", body=b"hello"), reply(CHUNKED, body=b"5\r\nhello\r\n")],
    ids=["length", "chunks"],
)
def test_a_response_that_breaks_off_breaks_off_for_the_client(
    said: bytes, end: str, version: bytes, client: RawClient, backend: ProgrammedBackend
) -> None:
    """G12, R13, RFC 9112 §8: with no clean end, whatever the framing."""
    heard: Queue[bytes] = Queue()

    def answer(peer: Peer, request: Received) -> None:
        peer.send(said)
        next_of(heard)
        peer.reset() if end == "reset" else peer.close()

    backend.answer = answer
    client.send(ask(version=version))
    try:
        client.head()
        client.read_until(b"hello")
    finally:
        heard.put(b"")
    with pytest.raises(ConnectionCut) as cut:
        client.rest()
    assert cut.value.reset
    assert b"0\r\n\r\n" not in cut.value.got


@pytest.mark.parametrize("junk", [b"xyz\r\n", b"-1\r\n", b"5 \nhello", b"fffffffffffffffff\r\n", b"5\r\nhelloX\r\n"])
def test_a_chunk_that_is_none_breaks_the_response_off(
    junk: bytes, client: RawClient, backend: ProgrammedBackend
) -> None:
    """R13, RFC 9112 §7.1: in mid-body there is nothing left but to cut."""
    heard: Queue[bytes] = Queue()

    def answer(peer: Peer, request: Received) -> None:
        peer.send(reply(CHUNKED, body=b"5\r\nhello\r\n"))
        next_of(heard)
        peer.send(junk)
        peer.read_to_end()

    backend.answer = answer
    client.send(ask())
    try:
        client.read_until(b"hello\r\n")
    finally:
        heard.put(b"")
    with pytest.raises(ConnectionCut) as cut:
        client.rest()
    assert cut.value.reset
    assert b"0\r\n\r\n" not in cut.value.got


@pytest.mark.parametrize(
    "sent", [ask(b"Content-Length: 100", method=b"POST") + b"hello", POST_CHUNKS + b"5\r\nhello\r\n"]
)
@pytest.mark.parametrize("end", ["close", "finish"])
def test_an_upload_that_breaks_off_breaks_off_for_the_backend(
    sent: bytes, end: str, rig: Rig, client: RawClient, backend: ProgrammedBackend
) -> None:
    """R6, G20, RFC 9112 §8: it sees no end of the body, and is asked no second time."""
    said: Queue[bytes] = Queue()

    def answer(peer: Peer, request: Received) -> None:
        said.put(peer.read_until(b"hello"))
        try:
            said.put(peer.read_to_end())
        except OSError:
            said.put(b"a reset")
            raise

    backend.answer = answer
    client.send(sent)
    assert next_of(said).endswith(b"hello")
    if end == "close":
        client.sock.close()
    else:
        client.finish()
    assert b"0\r\n\r\n" not in next_of(said)
    rig.settle()
    assert len(backend.requests) == 1


def test_a_client_that_breaks_off_and_reads_gets_an_error(client: RawClient, backend: ProgrammedBackend) -> None:
    """G20: the fault is its own."""
    backend.takes_all()
    client.send(ask(b"Content-Length: 100", method=b"POST") + b"hello")
    client.finish()
    assert client.answer().status in (400, 499)


def test_a_client_that_goes_ends_the_backends_work(rig: Rig, client: RawClient, backend: ProgrammedBackend) -> None:
    """R27: its connection is closed, not drained."""
    ended = Event()

    def answer(peer: Peer, request: Received) -> None:
        try:
            peer.send(reply(CHUNKED, body=b"5\r\nhello\r\n"))
            while True:
                peer.send(b"5\r\nhello\r\n" * 1000)
        finally:
            ended.set()

    backend.answer = answer
    client.send(ask())
    client.read_until(b"hello")
    client.sock.close()
    assert ended.wait(PATIENCE)


def test_a_client_that_goes_while_it_waits_ends_the_backends_work(
    client: RawClient, backend: ProgrammedBackend
) -> None:
    """R27: also when there is nothing yet to send it, so that no backend works for nobody."""
    came, ended = Event(), Event()

    def answer(peer: Peer, request: Received) -> None:
        came.set()
        try:
            peer.read_to_end()
        finally:
            ended.set()

    backend.answer = answer
    client.send(ask())
    assert came.wait(PATIENCE)
    client.sock.close()
    assert ended.wait(PATIENCE)


# Limits


def test_a_body_at_the_limit_is_not_beyond_it(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9110 §15.5.14."""
    body = b"x" * BODY_LIMIT
    bodies = backend.takes_the_body()
    client.send(post(body))
    assert client.answer().status == 200
    assert len(next_of(bodies)) == BODY_LIMIT
    client.send(chunked(body[:100], body[100:]))
    assert client.answer().status == 200
    assert unchunked(next_of(bodies))[0] == body


def test_chunks_beyond_the_limit_are_refused_when_they_get_there(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9110 §15.5.14: and the backend sees a request that broke off."""
    taken = backend.takes_all()
    client.send(POST_CHUNKS + b"%x\r\n" % (BODY_LIMIT + 1) + b"x" * (BODY_LIMIT + 1) + b"\r\n0\r\n\r\n")
    answer = client.answer()
    assert (answer.status, answer.values(b"connection")) == (413, [b"close"])
    assert b"\r\n0\r\n\r\n" not in next_of(taken)


# Trailers


@pytest.mark.parametrize("asks", [True, False], ids=["who asked", "nobody else"])
@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
def test_trailers_of_a_response_reach(
    asks: bool, later: bool, rig: Rig, client: RawClient, backend: ProgrammedBackend
) -> None:
    """G14, R26, RFC 9110 §6.5.1: they are announced, and come after the last chunk."""
    trailers = (b"X-Checksum: 1", b"X-Other: 2")
    head = reply(CHUNKED, b"Trailer: X-Checksum, X-Other")
    rest = chunks(b"lo", trailers=trailers)
    heard, backend.answer = steps(rest, head + b"3\r\nhel\r\n")
    if not later:
        backend.answer = says(head + b"3\r\nhel\r\n" + rest)
    client.send(ask(*[b"TE: trailers", b"Connection: TE"] if asks else []))
    if later:
        answer = client.head()
        heard.put(b"")
        answer = RawResponse(answer.line, answer.fields, *client.chunks())
    else:
        answer = client.answer()
    assert answer.body == b"hello"
    if asks:
        assert answer.trailers == list(trailers)
        assert answer.values(b"trailer") == [b"X-Checksum, X-Other"]
    else:
        assert answer.trailers == []
        assert b"trailer" not in answer.names
    assert_alive(rig, client)


def test_trailers_that_belong_into_a_head_do_not_reach_the_client(
    client: RawClient, backend: ProgrammedBackend
) -> None:
    """G14, RFC 9110 §6.5.1."""
    bad = (b"Set-Cookie: a=1", b"Connection: close", b"Location: /b", b"Content-Type: text/x")
    backend.answer = says(reply(CHUNKED, body=chunks(b"hello", trailers=(*bad, b"X-A: b"))))
    client.send(ask(b"TE: trailers", b"Connection: TE"))
    answer = client.answer()
    assert answer.body == b"hello"
    assert answer.trailers == [b"X-A: b"]


@pytest.mark.parametrize("bad", [b"Content-Length: 9", b"Transfer-Encoding: gzip", b"X-A : b", b"X-A: b\0c"])
def test_trailers_that_frame_or_are_none_do_not_reach_the_client(
    bad: bytes, client: RawClient, backend: ProgrammedBackend
) -> None:
    """G14, RFC 9110 §6.5.1: they are left out, or the response is refused or cut."""
    backend.answer = says(reply(CHUNKED, body=chunks(b"hello", trailers=(bad,))))
    client.send(ask(b"TE: trailers", b"Connection: TE"))
    try:
        answer = client.answer()
    except ConnectionCut:
        return
    assert answer.status in (200, 502)
    assert answer.trailers == []


@pytest.mark.parametrize(
    "bad",
    [
        b"Content-Length: 9",
        b"Transfer-Encoding: gzip",
        b"X-A : b",
        b"X-A: b\0c",
        b" X-A: b",
        b"X_Forwarded_For: 1",
        b"Host: b",
    ],
)
def test_trailers_that_frame_or_are_none_do_not_reach_the_backend(
    bad: bytes, rig: Rig, client: RawClient, backend: ProgrammedBackend
) -> None:
    """G14, RFC 9110 §6.5.1, RFC 9112 §7.1.2: they are left out, or the request is refused."""
    said: Queue[bytes] = Queue()

    def answer(peer: Peer, request: Received) -> None:
        said.put(peer.read_body(request.head))
        peer.send(OK)

    backend.answer = answer
    client.send(chunked(b"hello", trailers=(bad,)))
    status = client.answer().status
    assert status in (200, 400)
    rig.settle()
    assert len(backend.requests) <= 1
    while not said.empty():
        assert bad not in said.get()


def test_trailers_of_a_status_of_a_call(client: RawClient, backend: ProgrammedBackend) -> None:
    """G14: those that come unannounced are passed on to who takes them, as gRPC-Web's bridge does."""
    backend.answer = says(reply(CHUNKED, body=chunks(trailers=(b"grpc-status: 0",))))
    client.send(ask(b"TE: trailers", b"Connection: TE"))
    assert client.answer().trailers == [b"grpc-status: 0"]


def test_trailers_do_not_reach_a_client_of_http_1_0(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9110 §6.5.1."""
    backend.answer = says(reply(CHUNKED, body=chunks(b"hello", trailers=(b"X-A: b",))))
    client.send(ask(b"TE: trailers", b"Connection: TE", version=b"1.0"))
    assert client.answer().body == b"hello"
