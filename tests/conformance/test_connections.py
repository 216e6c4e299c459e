"""A client's connection: when it stays, and when it ends (RFC 9112 §9)."""

from __future__ import annotations

import pytest

from devtools.raw_client import RawClient
from tests.conformance.cases import NEXT, ask, assert_alive, post, sized
from tests.conformance.servers import Rig
from tests.support.programmed import ProgrammedBackend, says


def test_a_connection_carries_one_request_after_the_other(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9112 §9.3."""
    for number in range(20):
        client.send(post(b"x" * number) if number % 2 else ask())
        assert client.answer().body == b"ok"
    assert len(backend.requests) == 20


@pytest.mark.parametrize("value", [b"close", b"Close", b"keep-alive, close", b"close, TE", b" , close"])
def test_a_client_that_requests_the_end_of_the_connection_gets_it(value: bytes, client: RawClient) -> None:
    """G9, RFC 9112 §9.6."""
    answer = client.ask(ask(b"Connection: " + value))
    assert answer.values(b"connection") == [b"close"]
    assert client.rest() == b""


def test_http_1_0_ends_with_its_answer(client: RawClient) -> None:
    """RFC 9112 §9.3."""
    assert client.ask(ask(version=b"1.0")).status == 200
    assert client.rest() == b""


def test_http_1_0_is_kept_alive_on_request(rig: Rig, client: RawClient) -> None:
    """RFC 9112 §9.3, §C.2.2."""
    answer = client.ask(ask(b"Connection: keep-alive", version=b"1.0"))
    assert answer.values(b"connection") == [b"keep-alive"]
    assert_alive(rig, client)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_the_backends_connection_is_not_the_clients(version: bytes, rig: Rig, client: RawClient) -> None:
    """RFC 9110 §7.6.1: a backend that wants to close ends its own."""
    rig.backend.answer = says(b"HTTP/%b 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok" % version)
    assert client.ask(ask()).values(b"connection") == []
    assert_alive(rig, client)


def test_clients_share_the_backends_connections(rig: Rig, backend: ProgrammedBackend) -> None:
    """R16, R17, RFC 9112 §9.3: one after the other, and never an answer of one for another."""
    for number in range(10):
        backend.answer = says(sized(b"%d" % number))
        with rig.connect() as client:
            assert client.ask(ask(target=b"/%d" % number)).body == b"%d" % number
    assert [request.target for request in backend.requests] == [b"/%d" % number for number in range(10)]


def test_a_request_may_come_byte_by_byte(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9112 §2.2."""
    for byte in post(b"hi", target=b"/slow"):
        client.send(bytes([byte]))
    assert client.answer().status == 200
    assert backend.request.target == b"/slow"


def test_an_answer_may_come_byte_by_byte(rig: Rig, client: RawClient) -> None:
    """RFC 9112 §2.2, §4: its reason too."""
    rig.backend.answer = says(*[bytes([byte]) for byte in sized(b"hello", b"X-A: bc", status=b"200 All right")])
    answer = client.ask(ask())
    assert (answer.line, answer.body, answer.values(b"x-a")) == (b"HTTP/1.1 200 All right", b"hello", [b"bc"])
    assert_alive(rig, client)


def test_a_client_that_has_sent_all_is_answered_or_counts_as_gone(client: RawClient) -> None:
    """RFC 9112 §9.6: half a close can't be told from a whole one, and no backend is to work for nobody; but if it
    still listens it is told, and is not left waiting.
    """
    client.send(NEXT)
    client.finish()
    assert client.answer().status in (200, 499)
    assert client.rest() == b""


def test_a_silent_client_is_no_error(rig: Rig, client: RawClient) -> None:
    """G3: nor is one that leaves without a word."""
    client.finish()
    assert client.rest() == b""
    rig.assert_no_traceback()
