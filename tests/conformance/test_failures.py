"""What goes wrong, whose fault it is, and what each side hears of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from queue import Queue
from threading import Event

import pytest

from devtools.raw_client import ConnectionCut, RawClient
from devtools.raw_client import RawResponse as Answered
from devtools.scripted_backend import OK, Peer
from devtools.wait import PATIENCE, in_time
from tests.conformance.cases import ask, assert_alive, assert_told_in_json, assert_told_shortly, post, reply
from tests.conformance.servers import BODY_LIMIT, Rig, fresh
from tests.support.programmed import Answer, ProgrammedBackend, Received, next_of, ok, resets, says

JSON = b"Accept: application/json"


@pytest.fixture
def before_one_of_two(failing: Rig) -> Iterator[Rig]:
    yield from fresh(failing)


@pytest.fixture
def before_two(redundant: Rig) -> Iterator[Rig]:
    yield from fresh(redundant)


@pytest.fixture
def before_none(dead: Rig) -> Iterator[Rig]:
    yield from fresh(dead)


@pytest.fixture
def without_backends(empty: Rig) -> Iterator[Rig]:
    yield from fresh(empty)


@pytest.fixture
def hasty(impatient: Rig) -> Iterator[Rig]:
    yield from fresh(impatient)


def in_turn(*answers: Answer) -> Answer:
    """An answer: each of these once, and then the last."""
    left = list(answers)

    def answer(peer: Peer, request: Received) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(peer, request)

    return answer


# Another backend


@pytest.mark.parametrize("method", [b"GET", b"POST", b"PATCH", b"DELETE", b"PURGE"])
def test_no_connection_means_the_next_backend_whatever_the_method(method: bytes, before_one_of_two: Rig) -> None:
    """R28, RFC 9110 §9.2.2: nothing of the request was sent, body or not."""
    with before_one_of_two.connect() as client:
        for _ in range(4):
            client.send(post(b"hello").replace(b"POST", method))
            assert client.answer().body == b"ok"
    assert [request.line for request in before_one_of_two.backend.requests] == [method + b" / HTTP/1.1"] * 4


def test_chunks_go_to_the_next_backend_too(before_one_of_two: Rig) -> None:
    """R28: none of them was read before there was a connection."""
    bodies = before_one_of_two.backend.takes_the_body()
    with before_one_of_two.connect() as client:
        for _ in range(4):
            client.send(ask(b"Transfer-Encoding: chunked", method=b"POST") + b"5\r\nhello\r\n0\r\n\r\n")
            assert client.answer().status == 200
            assert next_of(bodies) == b"5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"PUT", b"TRACE"])
def test_a_backend_that_breaks_off_is_followed_by_another(method: bytes, before_two: Rig) -> None:
    """R15, RFC 9110 §9.2.2: for methods that may be repeated."""
    before_two.backend.answer = in_turn(resets, ok)
    with before_two.connect() as client:
        assert client.ask(ask(method=method)).status == 200
    assert len(before_two.backend.requests) == 2


@pytest.mark.parametrize(
    ("field", "body"),
    [(b"Content-Length: 10", b"helloworld"), (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n")],
    ids=["length", "chunks"],
)
def test_a_body_that_comes_after_a_backend_has_died_goes_to_the_next(
    field: bytes, body: bytes, before_two: Rig
) -> None:
    """R15, RFC 9110 §9.2.2: the one that died was waiting for it, and the next gets all of it."""
    asked: Queue[bytes] = Queue()
    bodies: Queue[bytes] = Queue()

    def takes(peer: Peer, request: Received) -> None:
        asked.put(b"")
        bodies.put(peer.read_body(request.head))
        peer.send(OK)

    before_two.backend.answer = in_turn(lambda peer, _: peer.reset(), takes)
    with before_two.connect() as client:
        client.send(ask(field, method=b"PUT"))
        next_of(asked)
        client.send(body)
        assert client.answer().status == 200
        assert next_of(bodies) == body
        assert_alive(before_two, client)


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"PURGE", b"get"])
def test_what_may_not_be_repeated_is_not(method: bytes, before_two: Rig) -> None:
    """R15, RFC 9110 §9.2.2: the backend may have acted on it."""
    before_two.backend.answer = in_turn(resets, ok)
    with before_two.connect() as client:
        answer = client.ask(ask(method=method))
    assert answer.status == 502
    assert_told_shortly(answer)
    before_two.settle()
    assert len(before_two.backend.requests) == 1


@pytest.mark.parametrize(("method", "status"), [(b"GET", 200), (b"POST", 502)])
def test_half_a_head_is_no_answer(method: bytes, status: int, before_two: Rig) -> None:
    """R13, R15: nothing of it has reached the client, so it may be asked for again, if it may be repeated."""

    def begins(peer: Peer, _: Received) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Le")
        peer.close()

    before_two.backend.answer = in_turn(begins, ok)
    with before_two.connect() as client:
        assert client.ask(ask(method=method)).status == status
    assert len(before_two.backend.requests) == (2 if status == 200 else 1)


def test_attempts_have_an_end(before_two: Rig) -> None:
    """RFC 9110 §9.2.2: both backends, each once on a new connection and once on one that may have gone stale."""
    before_two.backend.answer = resets
    with before_two.connect() as client:
        answer = client.ask(ask())
    assert answer.status == 502
    assert_told_shortly(answer)
    assert 2 <= len(before_two.backend.requests) <= 4


# Connections that have gone stale


def test_a_connection_that_closes_on_reuse_costs_no_request(client: RawClient, backend: ProgrammedBackend) -> None:
    """R15, R16, RFC 9112 §9.3.1: the backend did nothing wrong, and is asked again over a new one."""
    backend.answer = in_turn(ok, lambda peer, _: peer.close(), ok)
    assert client.ask(ask()).status == 200
    assert client.ask(ask()).status == 200
    assert len(backend.requests) == 3


def test_what_may_not_be_repeated_is_sent_once_over_a_stale_connection(
    client: RawClient, backend: ProgrammedBackend
) -> None:
    """R15, RFC 9110 §9.2.2: whether the backend has read it can't be known."""
    backend.answer = in_turn(ok, lambda peer, _: peer.close(), ok)
    assert client.ask(ask()).status == 200
    client.send(post())
    answer = client.answer()
    assert answer.status == 502
    assert_told_shortly(answer)
    assert len(backend.requests) == 2


def test_a_connection_that_was_closed_meanwhile_is_not_used(
    rig: Rig, client: RawClient, backend: ProgrammedBackend
) -> None:
    """R15, R16: it is looked at before anything is sent that may not be sent twice."""

    def answer(peer: Peer, _: Received) -> None:
        peer.send(OK)
        peer.close()

    backend.answer = answer
    assert client.ask(ask()).status == 200
    rig.settle()
    backend.answer = ok
    client.send(post())
    assert client.answer().status == 200


# Nobody there


def test_no_backend_is_there(before_none: Rig) -> None:
    """R28, RFC 9110 §15.6.3."""
    with before_none.connect() as client:
        client.send(post())
        answer = client.answer()
        assert answer.status == 502
        assert_told_shortly(answer)
        answer = client.ask(ask(JSON)) if answer.values(b"connection") != [b"close"] else None
    if answer is not None:
        assert_told_in_json(answer)


@pytest.mark.parametrize("accept", [JSON, b"Accept: text/html", b"Accept: application/problem+json;q=0.5, */*"])
def test_no_backend_may_serve(accept: bytes, without_backends: Rig) -> None:
    """RFC 9110 §15.6.4, §12.5.1: and the client is told when to come again."""
    with without_backends.connect() as client:
        answer = client.ask(ask(accept))
        assert answer.status == 503
        assert int(answer.values(b"retry-after")[0]) >= 1
        assert answer.values(b"cache-control") == [b"no-store"]
        if b"json" in accept:
            assert_told_in_json(answer)
            assert set(json.loads(answer.body)) >= {"status", "error", "detail"}
        else:
            assert_told_shortly(answer)
        assert client.ask(ask(method=b"HEAD")).status == 503
        assert client.ask(ask()).status == 503


# Nobody says anything


def begun(client: RawClient, request: bytes) -> Answered:
    """The head of the backend's answer. On a busy machine it may come too late, which is a 504: ask again then."""

    def head() -> Answered:
        client.send(request)
        head = client.head()
        if head.status == 504:
            client.read(int(head.values(b"content-length")[0]))
        return head

    return in_time(head, late=lambda head: head.status == 504)


@pytest.mark.parametrize("accept", [b"Accept: */*", JSON])
def test_a_silent_backend_is_given_up(accept: bytes, hasty: Rig) -> None:
    """R14, RFC 9110 §15.6.5: and is not asked again."""
    gone: Queue[bytes] = hasty.backend.takes_all()
    with hasty.connect() as client:
        answer = client.ask(ask(accept))
        assert answer.status == 504
        if accept == JSON:
            assert_told_in_json(answer)
        else:
            assert_told_shortly(answer)
        assert next_of(gone) == b""
        assert len(hasty.backend.requests) == 1
        hasty.backend.answer = ok
        assert begun(client, ask()).status == 200


def test_a_backend_that_falls_silent_cuts_its_answer(hasty: Rig) -> None:
    """R13, R14."""
    over = Event()

    def answer(peer: Peer, _: Received) -> None:
        peer.send(reply(b"Content-Length: 10", body=b"hello"))
        peer.wait(over)

    hasty.backend.answer = answer
    with hasty.connect() as client:
        try:
            assert begun(client, ask()).status == 200
            with pytest.raises(ConnectionCut) as cut:
                client.rest()
        finally:
            over.set()
    assert cut.value.reset
    assert cut.value.got == b"hello"


@pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: "])
def test_a_head_that_never_ends_is_given_up(begun: bytes, hasty: Rig) -> None:
    """G3, G4, RFC 9110 §15.5.9."""
    with hasty.connect() as client:
        client.send(begun)
        answer = client.answer()
        assert (answer.status, answer.values(b"connection")) == (408, [b"close"])
        assert client.rest() == b""
    assert hasty.backend.requests == []


def test_a_head_that_trickles_is_given_up(hasty: Rig) -> None:
    """G3: a byte now and then buys no time."""
    with hasty.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ")
        client.trickle(b"x")
        assert client.answer().status == 408
    assert hasty.backend.requests == []


@pytest.mark.parametrize(
    "begun",
    [
        ask(b"Content-Length: 10", method=b"POST") + b"hello",
        ask(b"Transfer-Encoding: chunked", method=b"POST") + b"5\r\nhello\r\n",
        ask(b"Transfer-Encoding: chunked", method=b"POST") + b"5\r\nhe",
    ],
    ids=["length", "between chunks", "within a chunk"],
)
def test_a_body_that_never_ends_is_given_up(begun: bytes, hasty: Rig) -> None:
    """G4, G20, RFC 9110 §15.5.9: the client's fault, and the backend sees a request that broke off."""
    taken = hasty.backend.takes_all()
    with hasty.connect() as client:
        client.send(begun)
        answer = client.answer()
        assert (answer.status, answer.values(b"connection")) == (408, [b"close"])
    assert b"0\r\n\r\n" not in next_of(taken)


def test_an_idle_tunnel_is_closed(hasty: Rig) -> None:
    """G21: for both sides."""
    ended = Event()

    def answer(peer: Peer, _: Received) -> None:
        peer.send(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x-echo/1\r\n\r\n")
        peer.read_to_end()
        ended.set()

    hasty.backend.answer = answer
    with hasty.connect() as client:
        assert begun(client, ask(b"Connection: upgrade", b"Upgrade: x-echo/1")).status == 101
        with suppress(ConnectionCut):
            assert client.rest() == b""
        assert ended.wait(PATIENCE)


def test_an_error_is_called_by_its_name_in_the_rfc(client: RawClient) -> None:
    """RFC 9110 §15.5.14: whatever the Python that runs the balancer calls it."""
    client.send(ask(b"Content-Length: %d" % (BODY_LIMIT + 1), method=b"POST"))
    answer = client.answer()
    assert answer.line == b"HTTP/1.1 413 Content Too Large"
    assert answer.body.startswith(b"413 Content Too Large: ")


def test_an_error_page_has_no_body_for_head(client: RawClient, rig: Rig) -> None:
    """RFC 9110 §9.3.2."""
    rig.backend.answer = says(b"junk\r\n\r\n")
    answer = client.ask(ask(method=b"HEAD"))
    assert answer.status == 502
    assert int(answer.values(b"content-length")[0]) > 0
    assert_alive(rig, client)
