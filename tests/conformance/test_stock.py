"""The app on gunicorn's own workers: the cases that hold there too, within the limits of WSGI.

WSGI joins repeated request fields, and keeps neither their order nor the case of their names (G15); gunicorn writes
Server and Date itself (G10). A case says by `stock` that none of this matters to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from queue import Queue

import pytest

from devtools.raw_client import ConnectionCut, RawClient
from devtools.scripted_backend import Peer
from tests.conformance import test_requests, test_responses, test_smuggling
from tests.conformance.cases import (
    Answered,
    Attack,
    Forwarded,
    Junk,
    Refused,
    ask,
    assert_told_in_json,
    chunked,
    chunks,
    post,
    reply,
    sized,
)
from tests.conformance.servers import BODY_LIMIT, Rig, fresh
from tests.support.programmed import ProgrammedBackend, Received, next_of, says, unchunked

Case = Forwarded | Refused | Attack | Answered | Junk


@pytest.fixture
def rig(stock: Rig) -> Iterator[Rig]:
    yield from fresh(stock)


def holding(*tables: list[Case]) -> list[Case]:
    """The cases of these tables that hold on gunicorn's workers."""
    return [case for table in tables for case in table if case.stock]


@pytest.mark.parametrize(
    "case",
    holding(
        test_requests.METHODS,
        test_requests.TARGETS,
        test_requests.FIELDS,
        test_requests.HOP_BY_HOP,
        test_requests.FORWARDING,
        test_requests.MAX_FORWARDS,
        test_requests.BODIES,
        test_requests.REFUSED,
    ),
    ids=lambda case: case.name[:40],
)
def test_a_request_on_a_stock_worker(case: Case, rig: Rig, client: RawClient) -> None:
    case.hold(rig, client)


@pytest.mark.parametrize(
    "case",
    holding(test_responses.FIELDS, test_responses.FRAMING, test_responses.JUNK),
    ids=lambda case: case.name,
)
def test_a_response_on_a_stock_worker(case: Case, rig: Rig, client: RawClient) -> None:
    case.hold(rig, client)


@pytest.mark.parametrize(
    "case",
    holding(test_smuggling.LENGTHS, test_smuggling.CODINGS, test_smuggling.CHUNKS, test_smuggling.LINES),
    ids=lambda case: case.name,
)
def test_an_attack_on_a_stock_worker(case: Case, rig: Rig, client: RawClient) -> None:
    case.hold(rig, client)


def test_a_piece_of_a_response_does_not_wait_for_the_next(client: RawClient, backend: ProgrammedBackend) -> None:
    """R11."""
    heard: Queue[bytes] = Queue()

    def answer(peer: Peer, _: Received) -> None:
        peer.send(reply(body=b"hello"))
        next_of(heard)
        peer.send(b"world")
        peer.close()

    backend.answer = answer
    client.send(ask())
    try:
        assert client.head().status == 200
        client.read_until(b"hello")
    finally:
        heard.put(b"")
    client.read_until(b"world")


def test_a_body_arrives_whole(rig: Rig, backend: ProgrammedBackend) -> None:
    """G17, R4: larger than one read."""
    body = bytes(range(256)) * 700
    bodies = backend.takes_the_body()
    with rig.connect() as client:
        client.send(post(body))
        assert client.answer().status == 200
        assert next_of(bodies) == body
    with rig.connect() as client:
        client.send(chunked(body[:7], body[7:100_000], body[100_000:]))
        assert client.answer().status == 200
        assert unchunked(next_of(bodies)) == (body, [])


def test_a_response_that_breaks_off_arrives_incomplete(client: RawClient, backend: ProgrammedBackend) -> None:
    """G12, G13, R13: here by an end that comes too early."""

    def answer(peer: Peer, _: Received) -> None:
        peer.send(reply(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"))
        peer.close()

    backend.answer = answer
    client.send(ask())
    with pytest.raises(ConnectionCut) as cut:
        client.answer()
    assert b"0\r\n\r\n" not in cut.value.got


def test_chunks_beyond_the_limit_are_refused(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9110 §15.5.14."""
    backend.takes_all()
    client.send(chunked(b"x" * (BODY_LIMIT + 1)))
    assert client.answer().status == 413


def test_a_length_beyond_the_limit_is_refused(client: RawClient, backend: ProgrammedBackend) -> None:
    """G19, RFC 9110 §15.5.14: gunicorn then waits for the body before it closes, and does not say that it will."""
    client.send(ask(b"Content-Length: %d" % (BODY_LIMIT + 1), method=b"POST"))
    assert client.answer().status == 413
    assert backend.requests == []


@pytest.mark.parametrize("blank", [b" ", b"\t"])
def test_a_folded_field_is_refused_or_made_plain(blank: bytes, client: RawClient, backend: ProgrammedBackend) -> None:
    """G2, RFC 9112 §5.2: gunicorn's parser in C unfolds it; the backend sees one line in either case."""
    answer = client.ask(ask(b"X-A: b\r\n" + blank + b"c", b"X-B: d"))
    if answer.status == 200:
        assert backend.request.head.count(b"\r\n") == backend.request.head.count(b"\n")
        assert all(line[:1] not in b" \t" and b":" in line for line in backend.request.lines)
        assert backend.request.values(b"x-b") == [b"d"]
    else:
        assert (answer.status, backend.requests) == (400, [])


def test_a_coding_under_the_chunks_is_refused(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9112 §6.1: the connection goes on, since what follows the chunks is the next request."""
    client.send(ask(b"Transfer-Encoding: identity, chunked", method=b"POST") + b"0\r\n\r\n")
    assert client.answer().status == 501
    assert backend.requests == []


def test_a_client_that_expects_100_gets_it(client: RawClient, backend: ProgrammedBackend) -> None:
    """G18: gunicorn does so by itself, at once."""
    client.send(ask(b"Content-Length: 5", b"Expect: 100-continue", method=b"POST"))
    assert client.answer().status == 100
    client.send(b"hello")
    assert client.answer().status == 200


def test_an_upgrade_is_not_offered_to_the_backend(client: RawClient, backend: ProgrammedBackend) -> None:
    """G21: a tunnel needs a worker of our own, so the answer is an ordinary one."""
    backend.answer = says(sized(b"no", status=b"426 Upgrade Required"))
    assert client.ask(ask(b"Connection: upgrade", b"Upgrade: websocket")).status == 426
    assert b"upgrade" not in backend.request.names


def test_hints_stay_behind(client: RawClient, backend: ProgrammedBackend) -> None:
    """R2, RFC 8297 §2: WSGI has no way to send them; the answer is the final one."""
    backend.answer = says(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + sized(b"hello"))
    answer = client.ask(ask())
    assert (answer.status, answer.body) == (200, b"hello")
    assert b"link" not in answer.names


def test_trailers_stay_behind_both_ways(client: RawClient, backend: ProgrammedBackend) -> None:
    """G14, RFC 9110 §6.5.1: WSGI has no place for them."""
    bodies = backend.takes_the_body(
        reply(b"Transfer-Encoding: chunked", b"Trailer: X-A", body=chunks(b"hello", trailers=(b"X-A: b",)))
    )
    client.send(chunked(b"hello", trailers=(b"X-A: b",), fields=(b"TE: trailers", b"Connection: TE")))
    answer = client.answer()
    assert (answer.body, answer.trailers) == (b"hello", [])
    assert unchunked(next_of(bodies)) == (b"hello", [])


def test_a_local_error_has_the_form_that_the_client_accepts(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9110 §12.5.1."""
    backend.answer = says(b"junk\r\n\r\n")
    answer = client.ask(ask(b"Accept: application/json"))
    assert answer.status == 502
    assert_told_in_json(answer)


def test_pipelined_requests_are_answered_in_order(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9112 §9.3.2: the sync worker answers one, and says that it closes."""
    backend.answer = lambda peer, request: peer.send(sized(request.target))
    client.send(ask(target=b"/1") + ask(target=b"/2"))
    answer = client.answer()
    assert answer.body == b"/1"
    if answer.values(b"connection") != [b"close"]:
        assert client.answer().body == b"/2"


@pytest.mark.parametrize("length", [b"9223372036854775808", b"18446744073709551621", b"9" * 100])
def test_a_length_beyond_63_bits_is_refused(length: bytes, rig: Rig, client: RawClient) -> None:
    """RFC 9110 §8.6: also where gunicorn would take it for a smaller one."""
    client.send(ask(b"Content-Length: " + length, method=b"POST"))
    assert client.head().status == 400
    assert rig.backend.requests == []
