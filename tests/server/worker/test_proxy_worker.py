"""The gunicorn worker as clients meet it, byte for byte, with both of gunicorn's parsers.

One gunicorn for each parser, before one backend whose answer each test sets.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import cast

import pytest

from devtools.parsers import PARSERS
from devtools.raw_client import ConnectionCut, RawClient, RawResponse
from devtools.scripted_backend import OK, Peer, ScriptedBackend
from devtools.servers import Gunicorn
from devtools.wait import PATIENCE
from lbflask.server.worker.client_connection import ClientConnection, ClientTimeouts
from lbflask.server.worker.http_exchange import HttpExchange
from lbflask.server.worker.received_head import ReceivedHead
from lbflask.server.worker.response_writer import ResponseWriter, ShortResponse

BODY_LIMIT = 1_000_000
LONG = PATIENCE

#: A request that a test sends to see that the connection is still good.
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"


class Backend:
    """Plays `answer` for each request, whatever connection it comes over."""

    def __init__(self) -> None:
        self.answer: Callable[[Peer, bytes], None] = ok
        self.requests: list[bytes] = []

    def play(self, peer: Peer) -> None:
        while head := peer.read_head():
            self.requests.append(head)
            self.answer(peer, head)

    def says(self, response: bytes) -> None:
        """Answer every request with these bytes."""

        def answer(peer: Peer, head: bytes) -> None:
            peer.read_body(head)
            peer.send(response)

        self.answer = answer

    def takes_all(self) -> Queue[bytes]:
        """Answer nothing, and take what comes until the end of the connection; that is then in the queue."""
        taken: Queue[bytes] = Queue()

        def answer(peer: Peer, head: bytes) -> None:
            taken.put(peer.read_to_end())

        self.answer = answer
        return taken

    @property
    def request(self) -> bytes:
        """The head of the only request that has come."""
        (request,) = self.requests
        return request

    @property
    def lines(self) -> list[bytes]:
        return self.request[:-4].split(b"\r\n")

    @property
    def names(self) -> list[bytes]:
        return [line.partition(b":")[0].lower() for line in self.lines[1:]]


def ok(peer: Peer, head: bytes) -> None:
    peer.read_body(head)
    peer.send(OK)


@pytest.fixture(scope="module", params=PARSERS)
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def running(parser: str, _shared_valkey: str) -> Iterator[tuple[Gunicorn, Backend]]:
    backend = Backend()
    with ScriptedBackend(backend.play) as server:
        gunicorn = Gunicorn(
            "--http-parser",
            parser,
            workers=1,
            redis_url=_shared_valkey,
            namespace=f"worker-{parser}",
            backends=server.url,
            access_log="",
            limits__body=BODY_LIMIT,
            timeouts__client_head=5,
        )
        try:
            yield gunicorn, backend
        finally:
            gunicorn.kill()


@pytest.fixture
def backend(running: tuple[Gunicorn, Backend]) -> Backend:
    """The backend, with nothing received, answering 200."""
    backend = running[1]
    backend.answer, backend.requests = ok, []
    return backend


@pytest.fixture
def connect(running: tuple[Gunicorn, Backend]) -> Callable[[], RawClient]:
    return lambda: RawClient(running[0].port)


@pytest.fixture
def client(connect: Callable[[], RawClient], backend: Backend) -> Iterator[RawClient]:
    with connect() as client:
        yield client


def get(*fields: bytes, target: bytes = b"/", method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    lines = [method + b" " + target + b" HTTP/" + version, b"Host: a", *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def assert_alive(client: RawClient) -> None:
    """The connection carries another request."""
    assert client.ask(NEXT).body == b"ok"


def assert_alive_after(backend: Backend, client: RawClient) -> None:
    """The same, with the backend as it is without a test."""
    backend.answer = ok
    assert_alive(client)


def assert_closed(client: RawClient, answer: RawResponse) -> None:
    """The answer says that the connection ends, and it does."""
    assert answer.values(b"connection") == [b"close"]
    assert client.rest() == b""


# Connections


def test_requests_follow_each_other_on_a_connection(client: RawClient) -> None:
    """RFC 9112 §9.3."""
    for _ in range(3):
        answer = client.ask(get())
        assert (answer.status, answer.body) == (200, b"ok")
        assert answer.values(b"connection") == []


def test_pipelined_requests_are_answered_in_order(client: RawClient, backend: Backend) -> None:
    """RFC 9112 §9.3.2."""

    def echo(peer: Peer, head: bytes) -> None:
        target = head.split(b" ")[1]
        body = target + b"=" + peer.read_body(head)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    backend.answer = echo
    client.send(
        get(target=b"/1")
        + get(b"Content-Length: 5", target=b"/2", method=b"POST") + b"hello"
        + get(b"Transfer-Encoding: chunked", target=b"/3", method=b"POST") + b"2\r\nhi\r\n0\r\n\r\n"
        + get(target=b"/4")
    )  # fmt: skip
    assert [client.answer().body for _ in range(4)] == [b"/1=", b"/2=hello", b"/3=2\r\nhi\r\n0\r\n\r\n", b"/4="]


def test_an_http_1_0_connection_ends_with_its_response(client: RawClient) -> None:
    """RFC 9112 §9.3."""
    answer = client.ask(get(version=b"1.0"))
    assert answer.line == b"HTTP/1.1 200 OK"
    assert_closed(client, answer)


def test_an_http_1_0_connection_is_kept_on_request(client: RawClient) -> None:
    """RFC 9112 §9.3, appendix C.2.2: and is told so."""
    for _ in range(2):
        answer = client.ask(get(b"Connection: Keep-Alive", version=b"1.0"))
        assert (answer.body, answer.values(b"connection")) == (b"ok", [b"keep-alive"])
    assert_closed(client, client.ask(get(version=b"1.0")))


@pytest.mark.parametrize("value", [b"close", b"Close", b"x-other, close", b"close,x-other", b"keep-alive, close"])
def test_a_connection_is_closed_at_the_request_of_the_client(client: RawClient, value: bytes) -> None:
    """G9, RFC 9110 §7.6.1: the option may be one of a list, in any case."""
    answer = client.ask(get(b"Connection: " + value))
    assert answer.body == b"ok"
    assert_closed(client, answer)


def test_a_close_in_a_second_connection_line_counts_too(client: RawClient) -> None:
    """RFC 9110 §5.3: two lines are one list."""
    assert_closed(client, client.ask(get(b"Connection: x-other", b"Connection: close")))


def test_one_empty_line_before_a_request_is_passed_over(client: RawClient, backend: Backend) -> None:
    """RFC 9112 §2.2: and costs the request none of its fields."""
    client.send(b"\r\n" + get(b"X-A: b", b"Content-Length: 5", method=b"POST") + b"hello")
    assert client.answer().status == 200
    assert {b"X-A: b", b"Content-Length: 5"} <= set(backend.lines)
    assert_alive(client)


def test_an_empty_line_may_come_in_pieces(client: RawClient, backend: Backend) -> None:
    """RFC 9112 §2.2."""
    for byte in b"\r\n" + get(b"X-A: b"):
        client.send(bytes([byte]))
    assert client.answer().status == 200
    assert b"X-A: b" in backend.lines


# What arrives at the backend


def test_fields_arrive_in_order_with_case_and_repeats(client: RawClient, backend: Backend) -> None:
    """G15, RFC 9110 §5.3."""
    sent = [b"x-b: 1", b"X-A: 2", b"x-b: 3", b"Accept: */*", b"X-Empty: ", b"aCCEPT: text/html", b"x-B:4"]
    client.ask(get(*sent))
    assert backend.lines[2:9] == [*sent[:-1], b"x-B: 4"]


def test_nothing_but_our_own_fields_is_added(client: RawClient, backend: Backend) -> None:
    """R9."""
    client.ask(get())
    assert backend.names == [
        b"host", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"x-real-ip",
        b"x-request-id", b"via",
    ]  # fmt: skip


def test_cookie_lines_become_one(client: RawClient, backend: Backend) -> None:
    """G15: joined with a comma they would be other cookies, and many backends see one line only (RFC 6265 §5.4)."""
    client.ask(get(b"Cookie: a=1; b=2", b"X-A: 1", b"Cookie: c=3"))
    assert backend.lines[2:4] == [b"Cookie: a=1; b=2; c=3", b"X-A: 1"]


def test_values_arrive_byte_for_byte(client: RawClient, backend: Backend) -> None:
    """R22: latin-1, or UTF-8, or neither."""
    value = b"X-Name: caf\xe9 caf\xc3\xa9 \x80\xff \t end"
    client.ask(get(value))
    assert value in backend.lines


@pytest.mark.parametrize(
    "target",
    [
        b"//a//b",
        b"/a%2Fb%2fc",
        b"/a/../b/./c",
        b"/a;b=c;d",
        b"/a?",
        b"/?a=b&&c=%20d+e?f",
        b"/%7Euser/~user",
        b"/%zz%",
        b'/<>"{}|\\^`[]',
        b"/http://other.example/",
    ],
)
def test_the_target_arrives_byte_for_byte(client: RawClient, backend: Backend, target: bytes) -> None:
    """G16, R19."""
    assert client.ask(get(target=target)).status == 200
    assert backend.lines[0] == b"GET " + target + b" HTTP/1.1"


@pytest.mark.parametrize(
    ("target", "arrives"),
    [(b"http://b.example/x?y", b"/x?y"), (b"http://b.example", b"/"), (b"HTTP://b.example?y", b"/?y")],
)
def test_an_absolute_target_names_the_host(client: RawClient, backend: Backend, target: bytes, arrives: bytes) -> None:
    """G16, RFC 9112 §3.2.2: the Host field, which says another, is replaced."""
    assert client.ask(get(target=target)).status == 200
    assert backend.lines[:2] == [b"GET " + arrives + b" HTTP/1.1", b"Host: b.example"]
    assert backend.names.count(b"host") == 1


def test_options_of_the_server_itself_are_passed_on(client: RawClient, backend: Backend) -> None:
    """RFC 9112 §3.2.4."""
    assert client.ask(get(method=b"OPTIONS", target=b"*")).status == 200
    assert backend.lines[0] == b"OPTIONS * HTTP/1.1"


@pytest.mark.parametrize("method", [b"BREW", b"M-SEARCH", b"PROPFIND", b"get", b"x", b"A" * 40, b"!#$%&'*+-.^_`|~"])
def test_any_token_is_a_method(client: RawClient, backend: Backend, method: bytes) -> None:
    """RFC 9110 §9.1."""
    assert client.ask(get(method=method)).status == 200
    assert backend.lines[0] == method + b" / HTTP/1.1"


@pytest.mark.parametrize("name", [b"X_Forwarded_For", b"Content_Length", b"Transfer_Encoding", b"SCRIPT_NAME", b"_"])
def test_a_name_with_an_underscore_does_not_arrive(client: RawClient, backend: Backend, name: bytes) -> None:
    """G15: backends that speak WSGI or CGI could not tell it from the name with a hyphen."""
    assert client.ask(get(name + b": 10.0.0.1", b"X-After: 1")).status == 200
    assert name.lower() not in backend.names
    assert b"X-After: 1" in backend.lines


def test_forwarding_fields_of_an_untrusted_peer_do_not_arrive(client: RawClient, backend: Backend) -> None:
    """G23: nobody is trusted here, so all of it is ours to say."""
    client.ask(
        get(
            b"X-Forwarded-For: 10.0.0.1", b"x-forwarded-proto: https", b"X-Forwarded-Host: evil",
            b"X-Real-IP: 10.0.0.1", b"Forwarded: for=10.0.0.1", b"X-Forwarded-Port: 443", b"X-Forwarded-Prefix: /evil",
        )
    )  # fmt: skip
    assert b"evil" not in backend.request
    assert b"10.0.0.1" not in backend.request
    assert {b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Proto: http", b"X-Forwarded-Host: a"} <= set(backend.lines)


def test_no_hop_by_hop_field_of_the_client_arrives(client: RawClient, backend: Backend) -> None:
    """RFC 9110 §7.6.1."""
    client.ask(
        get(
            b"Connection: keep-alive, X-Gone", b"X-Gone: 1", b"Keep-Alive: timeout=5", b"TE: gzip", b"Trailer: X-T",
            b"Upgrade: h2c", b"Proxy-Connection: keep-alive", b"Proxy-Authorization: Basic x", b"X-Stays: 1",
        )
    )  # fmt: skip
    gone = {b"connection", b"x-gone", b"keep-alive", b"te", b"trailer", b"upgrade", b"proxy-connection"}
    assert not (gone | {b"proxy-authorization"}) & set(backend.names)
    assert b"X-Stays: 1" in backend.lines


def test_a_connection_line_cannot_remove_fields_of_the_balancer(client: RawClient, backend: Backend) -> None:
    """RFC 9110 §7.6.1."""
    client.ask(get(b"Connection: close, X-Forwarded-For, Host, Content-Length, Via"))
    assert {b"host", b"x-forwarded-for", b"via"} <= set(backend.names)


# Request bodies


def test_a_body_of_known_length_arrives_with_its_length(client: RawClient, backend: Backend) -> None:
    """R4."""
    bodies: list[bytes] = []

    def answer(peer: Peer, head: bytes) -> None:
        bodies.append(peer.read_body(head))
        peer.send(OK)

    backend.answer = answer
    body = bytes(range(256)) * 2000
    client.send(get(b"Content-Length: %d" % len(body), method=b"POST") + body)
    assert client.answer().status == 200
    assert bodies == [body]
    assert backend.lines.count(b"Content-Length: %d" % len(body)) == 1
    assert b"transfer-encoding" not in backend.names
    assert_alive(client)


def test_a_length_of_no_bytes_arrives(client: RawClient, backend: Backend) -> None:
    """RFC 9110 §8.6: some backends answer 411 to a POST without one."""
    client.ask(get(b"Content-Length: 0", method=b"POST"))
    assert backend.lines.count(b"Content-Length: 0") == 1
    assert_alive(client)


def test_an_upload_of_chunks_reaches_the_backend_before_it_is_complete(client: RawClient, backend: Backend) -> None:
    """G17. Chunk extensions are not passed on (RFC 9112 §7.1.1), trailers are (G14)."""
    first, rest = threading.Event(), []

    def answer(peer: Peer, head: bytes) -> None:
        assert peer.read_until(b"\r\nfirst\r\n") == b"5\r\nfirst\r\n"
        first.set()
        rest.append(peer.read_until(b"\r\n\r\n"))
        peer.send(OK)

    backend.answer = answer
    client.send(get(b"Transfer-Encoding: chunked", method=b"POST") + b"5;ext=1\r\nfirst\r\n")
    assert first.wait(LONG)
    client.send(b"6\r\nsecond\r\n0\r\nX-Trailer: 1\r\n\r\n")
    assert client.answer().status == 200
    assert rest == [b"6\r\nsecond\r\n0\r\nX-Trailer: 1\r\n\r\n"]
    assert backend.names.count(b"transfer-encoding") == 1
    assert b"content-length" not in backend.names
    assert_alive_after(backend, client)


def test_an_upload_of_known_length_reaches_the_backend_before_it_is_complete(
    client: RawClient, backend: Backend
) -> None:
    """G17."""
    first = threading.Event()

    def answer(peer: Peer, head: bytes) -> None:
        peer.read(5)
        first.set()
        peer.read(6)
        peer.send(OK)

    backend.answer = answer
    client.send(get(b"Content-Length: 11", method=b"POST") + b"first")
    assert first.wait(LONG)
    client.send(b"second")
    assert client.answer().status == 200
    assert_alive_after(backend, client)


def test_a_client_that_breaks_off_its_upload_breaks_it_off_for_the_backend(
    connect: Callable[[], RawClient], backend: Backend
) -> None:
    """R6, RFC 9112 §8: half a body must not look like a whole one."""
    taken: Queue[bytes] = Queue()

    def answer(peer: Peer, head: bytes) -> None:
        taken.put(peer.read_until(b"first\r\n"))
        taken.put(peer.read_to_end())

    backend.answer = answer
    with connect() as client:
        client.send(get(b"Transfer-Encoding: chunked", method=b"POST") + b"5\r\nfirst\r\n")
        assert taken.get(timeout=LONG) == b"5\r\nfirst\r\n"
    assert taken.get(timeout=LONG) == b""


@pytest.mark.parametrize("chunk", [b"zz\r\n", b"-1\r\n", b"5\r\nhelloXY", b"\r\n", b"5 \r\nhello\r\n"])
def test_a_bad_chunk_is_the_clients_fault(client: RawClient, backend: Backend, chunk: bytes) -> None:
    """G20, RFC 9112 §7.1: and the backend never sees the end of the body."""
    taken = backend.takes_all()
    client.send(get(b"Transfer-Encoding: chunked", method=b"POST") + b"2\r\nok\r\n" + chunk)
    answered = client.answer()
    assert answered.status == 400
    assert answered.values(b"connection") == [b"close"]
    assert b"\r\n0\r\n" not in taken.get(timeout=LONG)


def test_a_body_beyond_the_limit_is_refused(client: RawClient, backend: Backend) -> None:
    """RFC 9110 §15.5.14: before any of it, when its length is told."""
    client.send(get(b"Content-Length: %d" % (BODY_LIMIT + 1), method=b"POST"))
    answer = client.answer()
    assert answer.status == 413
    assert_closed(client, answer)
    assert backend.requests == []


def test_a_chunked_body_beyond_the_limit_is_refused_when_it_gets_there(client: RawClient, backend: Backend) -> None:
    """RFC 9110 §15.5.14: and the backend never sees its end."""
    taken = backend.takes_all()
    client.send(get(b"Transfer-Encoding: chunked", method=b"POST"))
    chunk = b"%x\r\n%b\r\n" % (BODY_LIMIT, b"x" * BODY_LIMIT)
    client.send(chunk + b"1\r\nx\r\n")
    answered = client.answer()
    assert answered.status == 413
    assert answered.values(b"connection") == [b"close"]
    assert b"\r\n0\r\n" not in taken.get(timeout=LONG)


def test_an_early_answer_to_an_upload_is_delivered_and_ends_the_connection(client: RawClient, backend: Backend) -> None:
    """R24, RFC 9112 §9.6: what is left of the upload stands where the next request would."""

    def answer(peer: Peer, head: bytes) -> None:
        peer.send(b"HTTP/1.1 401 Who\r\nContent-Length: 2\r\n\r\nno")
        peer.close()

    backend.answer = answer
    client.send(get(b"Content-Length: 900000", method=b"POST") + b"x" * 100_000)
    client.send(b"x" * 100_000)
    client.trickle(b"x")
    answered = client.answer()
    assert (answered.status, answered.body) == (401, b"no")
    assert answered.values(b"connection") == [b"close"]


# Expect


def test_a_client_that_expects_100_gets_it_when_the_backend_takes_the_body(client: RawClient, backend: Backend) -> None:
    """G18, RFC 9110 §10.1.1: the backend is asked, and the client is told once."""
    asked = threading.Event()

    def answer(peer: Peer, head: bytes) -> None:
        asked.wait(LONG)
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert peer.read(5) == b"hello"
        peer.send(OK)

    backend.answer = answer
    client.send(get(b"Expect: 100-continue", b"Content-Length: 5", method=b"POST"))
    assert not select.select([client.sock], [], [], 0.1)[0]
    asked.set()
    assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"hello")
    assert client.answer().line == b"HTTP/1.1 200 OK"
    assert b"Expect: 100-continue" in backend.lines
    assert_alive_after(backend, client)


def test_a_backend_that_ignores_the_expectation_gets_the_body_as_well(client: RawClient, backend: Backend) -> None:
    """RFC 9110 §10.1.1: a client, and so a proxy, must not wait for the 100 for ever."""
    client.send(get(b"Expect: 100-continue", b"Content-Length: 5", method=b"POST"))
    assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"hello")
    assert client.answer().line == b"HTTP/1.1 200 OK"
    assert_alive(client)


def test_a_final_answer_instead_of_leave_to_go_on_is_passed_on(client: RawClient, backend: Backend) -> None:
    """RFC 9110 §10.1.1; the body was not asked for, and would stand where the next request should."""

    def answer(peer: Peer, head: bytes) -> None:
        peer.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")

    backend.answer = answer
    client.send(get(b"Expect: 100-continue", b"Content-Length: 5", method=b"POST"))
    answered = client.answer()
    assert answered.status == 401
    assert_closed(client, answered)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get(b"Expect: 100-continue", b"Content-Length: %d" % (BODY_LIMIT + 1), method=b"POST"), 413),
        (b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", 400),
        (get(b"Expect: 100-continue", b"Content-Length: 5", method=b"POST", target=b"/a#b"), 400),
    ],
)
def test_a_client_that_expects_100_gets_none_when_it_is_refused(
    client: RawClient, backend: Backend, request_: bytes, status: int
) -> None:
    """G18: the first thing it hears is the refusal, and its body is not waited for."""
    client.send(request_)
    answer = client.answer()
    assert answer.status == status
    assert_closed(client, answer)
    assert backend.requests == []


def test_an_expectation_without_a_body_is_not_answered(client: RawClient) -> None:
    """RFC 9110 §10.1.1."""
    assert client.ask(get(b"Expect: 100-continue")).status == 200
    assert_alive(client)


def test_an_http_1_0_client_never_gets_a_100(client: RawClient) -> None:
    """RFC 9110 §10.1.1."""
    client.send(get(b"Expect: 100-continue", b"Content-Length: 5", method=b"POST", version=b"1.0") + b"hello")
    assert client.answer().line == b"HTTP/1.1 200 OK"


def test_an_unknown_expectation_is_refused(client: RawClient, backend: Backend) -> None:
    """RFC 9110 §15.5.18."""
    answer = client.ask(get(b"Expect: miracles"))
    assert answer.status == 417
    assert_closed(client, answer)
    assert backend.requests == []


# What is refused


@pytest.mark.parametrize(
    "request_",
    [
        get(b"Content-Length: 5", b"Transfer-Encoding: chunked", method=b"POST") + b"0\r\n\r\n",
        get(b"Transfer-Encoding: chunked", b"Content-Length: 5", method=b"POST") + b"0\r\n\r\n",
        get(b"Content-Length: 5", b"Content-Length: 6", method=b"POST") + b"hello",
        get(b"Content-Length: 5", b"Content-Length: 5", method=b"POST") + b"hello",
        get(b"Content-Length: 5, 5", method=b"POST") + b"hello",
        get(b"Content-Length: -5", method=b"POST") + b"hello",
        get(b"Content-Length: +5", method=b"POST") + b"hello",
        get(b"Content-Length: 0x5", method=b"POST") + b"hello",
        get(b"Content-Length: 5_0", method=b"POST") + b"hello",
        get(b"Content-Length: \xb2", method=b"POST") + b"hello",
        get(b"Transfer-Encoding: chunked, chunked", method=b"POST") + b"0\r\n\r\n",
        get(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", method=b"POST") + b"0\r\n\r\n",
        get(b"Transfer-Encoding: chunked, identity", method=b"POST") + b"0\r\n\r\n",
        get(b"Transfer-Encoding: gzip", method=b"POST") + b"0\r\n\r\n",
        get(b"Transfer-Encoding: chunked", method=b"POST", version=b"1.0") + b"0\r\n\r\n",
        get(b"X-A: b\r\n folded"),
        get(b"X-A: b\r\n\tfolded"),
        get(b"Transfer-Encoding:\r\n chunked", method=b"POST") + b"0\r\n\r\n",
        get(b"X-A: b\x00c"),
        get(b"X-A\x00: b"),
        get(b"X-A: b\rc"),
        get(b"X-A: b\x0bc"),
        get(b"X-A : b"),
        get(b"Content-Length : 5", method=b"POST") + b"hello",
        get(b" X-A: b"),
        get(b"X-A"),
        get(b": b"),
        get(b"X(A): b"),
        get(target=b"/\x00"),
        get(target=b"/caf\xe9"),
        get(target=b"/a b"),
        get(target=b"/a#b"),
        get(target=b"a"),
        get(target=b"*"),
        get(target=b""),
        get(method=b"G(T"),
        get(version=b"1.1 "),
        get(version=b"2.0"),
        get(version=b"11"),
        b"GET /\r\n\r\n",
        b"\r\n\r\n\r\n" + get(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 20 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET http://user:secret@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_a_request_that_could_be_read_in_two_ways_is_refused(
    client: RawClient, backend: Backend, request_: bytes
) -> None:
    """G2, RFC 9112 §2.2, §3.2, §5, §6.3, RFC 9110 §7.2: nothing of it reaches the backend, nor what comes after it."""
    answer = client.ask(request_)
    assert answer.status == 400
    assert backend.requests == []


@pytest.mark.parametrize(
    "request_",
    [
        get(b"Content-Length: 5", b"Transfer-Encoding: chunked", method=b"POST") + b"0\r\n\r\n",
        get(b"Content-Length: 5", b"Content-Length: 6", method=b"POST") + b"hello",
        get(b"X-A : b"),
    ],
)
def test_after_a_refused_head_the_connection_ends(client: RawClient, backend: Backend, request_: bytes) -> None:
    """RFC 9112 §6.3 and §11.2: where the next request would begin is unknown."""
    client.send(request_ + NEXT)
    answer = client.answer()
    assert answer.status == 400
    assert_closed(client, answer)
    assert backend.requests == []


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"identity, chunked"])
def test_a_coding_that_would_not_be_decoded_is_refused(client: RawClient, backend: Backend, coding: bytes) -> None:
    """RFC 9112 §6.1: forwarded as plain chunks, the body would mean something else."""
    client.send(get(b"Transfer-Encoding: " + coding, method=b"POST") + b"0\r\n\r\n")
    answer = client.answer()
    assert answer.status == 501
    assert_closed(client, answer)
    assert backend.requests == []


def test_an_unknown_coding_is_refused(client: RawClient, backend: Backend, parser: str) -> None:
    """RFC 9112 §6.1; the parser in C does not tell it from a malformed field."""
    client.send(get(b"Transfer-Encoding: xchunked", method=b"POST") + b"0\r\n\r\n")
    assert client.answer().status in {"fast": (400, 501), "python": (501,)}[parser]
    assert backend.requests == []


def test_lone_line_feeds_never_reach_the_backend(client: RawClient, backend: Backend, parser: str) -> None:
    """G2, RFC 9112 §2.2: the parser in C takes them for line ends, the one in Python refuses them."""
    client.send(b"GET / HTTP/1.1\nHost: a\nX-A: b\n\n")
    answer = client.answer()
    if parser == "python":
        assert answer.status == 400
        assert backend.requests == []
    else:
        assert answer.status == 200
        assert backend.request.count(b"\n") == backend.request.count(b"\r\n")
        assert b"X-A: b" in backend.lines


def test_connect_is_not_supported(client: RawClient, backend: Backend) -> None:
    """RFC 9110 §9.3.6: this is no forward proxy; what follows would be a tunnel, so the connection ends."""
    client.send(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
    answer = client.answer()
    assert answer.status == 501
    assert_closed(client, answer)
    assert backend.requests == []


def test_http_1_0_needs_no_host(client: RawClient, backend: Backend) -> None:
    """RFC 9112 §3.2: and the backend, which is spoken to in 1.1, gets one."""
    assert client.ask(b"GET / HTTP/1.0\r\n\r\n").status == 200
    assert backend.lines[1].startswith(b"Host: 127.0.0.1:")


def test_a_line_that_is_too_long_is_refused(client: RawClient, backend: Backend) -> None:
    """G24, RFC 9112 §3."""
    client.send(get(target=b"/" + b"a" * 9000))
    answer = client.answer()
    assert answer.status == 414
    assert_closed(client, answer)
    assert backend.requests == []


@pytest.mark.parametrize("fields", [[b"X-A: b"] * 101, [b"X-A: " + b"b" * 9000]], ids=["too-many", "too-long"])
def test_fields_beyond_the_limits_are_refused(client: RawClient, backend: Backend, fields: list[bytes]) -> None:
    """G24, RFC 6585 §5."""
    client.send(get(*fields))
    answer = client.answer()
    assert answer.status == 431
    assert_closed(client, answer)
    assert backend.requests == []


@pytest.mark.sampled(2, 1)
def test_a_head_has_one_deadline_however_it_trickles(client: RawClient, backend: Backend) -> None:
    """G3, G4: a byte now and then does not buy more time."""
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
    client.trickle(b"a")
    answer = client.answer()
    assert answer.status == 408
    assert_closed(client, answer)
    assert backend.requests == []


def test_a_head_within_its_deadline_may_trickle(client: RawClient, backend: Backend) -> None:
    for byte in get(b"X-A: b"):
        client.send(bytes([byte]))
    assert client.answer().status == 200
    assert b"X-A: b" in backend.lines


# What the client gets


def test_fields_of_the_response_keep_their_order_case_and_repeats(client: RawClient, backend: Backend) -> None:
    """R5, G10, G11: Server and Date are the backend's too, and no byte is damaged (R22)."""
    backend.says(
        b"HTTP/1.1 299 Quite caf\xe9\r\nServer: theirs\r\nset-cookie: a=1\r\nX-Name: caf\xc3\xa9\r\nSet-Cookie: b=2\r\n"
        b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\nok"
    )
    answer = client.ask(get())
    assert answer.line == b"HTTP/1.1 299 Quite caf\xe9"
    assert answer.fields == [
        (b"Server", b"theirs"),
        (b"set-cookie", b"a=1"),
        (b"X-Name", b"caf\xc3\xa9"),
        (b"Set-Cookie", b"b=2"),
        (b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT"),
        (b"Content-Length", b"2"),
        (b"Via", b"1.1 lbflask"),
    ]


@pytest.mark.parametrize(
    "date", [b"", b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"]
)
def test_a_response_has_one_date(client: RawClient, backend: Backend, date: bytes) -> None:
    """RFC 9110 §6.6.1: the backend's if it sent one."""
    backend.says(b"HTTP/1.1 200 OK\r\n" + date + b"Content-Length: 2\r\n\r\nok")
    (value,) = client.ask(get()).values(b"date")
    assert value.endswith(b" GMT")
    assert (b"1994" in value) == bool(date)


def test_no_hop_by_hop_field_of_the_backend_reaches_the_client(client: RawClient, backend: Backend) -> None:
    """RFC 9110 §7.6.1, G10: and the client's connection is none of the backend's business."""
    backend.says(
        b"HTTP/1.1 200 OK\r\nConnection: close, X-Gone\r\nX-Gone: 1\r\nKeep-Alive: timeout=5\r\nTrailer: X-T\r\n"
        b"Proxy-Connection: close\r\nProxy-Authenticate: Basic\r\nTransfer-Encoding: chunked\r\nUpgrade: h2c\r\n"
        b"X-Stays: 1\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n"
    )
    answer = client.ask(get())
    assert answer.body == b"ok"
    assert set(answer.names) == {b"x-stays", b"date", b"via", b"transfer-encoding"} - (
        {b"transfer-encoding"} if answer.values(b"content-length") else set()
    )
    assert_alive_after(backend, client)


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
    ],
    ids=["length", "chunked", "until-close", "http-1.0"],
)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_body_arrives_whole_however_it_is_framed(
    client: RawClient, backend: Backend, response: bytes, version: bytes
) -> None:
    """RFC 9112 §6: an HTTP/1.0 client never gets chunks."""

    def answer(peer: Peer, head: bytes) -> None:
        peer.send(response)
        peer.close()

    backend.answer = answer
    answered = client.ask(get(version=version))
    assert answered.body == b"hello"
    if version == b"1.0":
        assert answered.values(b"transfer-encoding") == []
        assert_closed(client, answered)
    else:
        backend.answer = ok
        assert_alive(client)


def test_a_large_body_arrives_byte_for_byte(client: RawClient, backend: Backend) -> None:
    body = bytes(range(256)) * 20_000
    backend.says(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    assert client.ask(get()).body == body
    assert_alive_after(backend, client)


@pytest.mark.parametrize(
    ("request_", "response", "length"),
    [
        (get(method=b"HEAD"), b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", [b"1234"]),
        (get(method=b"HEAD"), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", []),
        (get(method=b"HEAD"), b"HTTP/1.1 200 OK\r\n\r\n", []),
        (get(), b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: x\r\n\r\n", [b"1234"]),
        (get(), b"HTTP/1.1 304 Not Modified\r\n\r\n", []),
        (get(), b"HTTP/1.1 204 No Content\r\n\r\n", []),
        (get(), b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", []),
    ],
)
def test_a_response_that_cannot_have_a_body_has_none(
    client: RawClient, backend: Backend, request_: bytes, response: bytes, length: list[bytes]
) -> None:
    """R25, RFC 9110 §8.6, RFC 9112 §6.3: the next response follows at once."""
    backend.says(response)
    answer = client.ask(request_)
    assert answer.values(b"content-length") == length
    assert answer.values(b"transfer-encoding") == []
    assert_alive_after(backend, client)


def test_of_interim_responses_early_hints_are_passed_on(client: RawClient, backend: Backend) -> None:
    """R2, RFC 8297. The others speak of this hop."""
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nX: 1\r\n\r\n"
    backend.says(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + hint + hint + OK)
    client.send(get())
    for _ in range(2):
        hinted = client.answer()
        assert (hinted.line, hinted.fields) == (
            b"HTTP/1.1 103 Early Hints", [(b"Link", b"</a>"), (b"Via", b"1.1 lbflask")]
        )  # fmt: skip
    answer = client.answer()
    assert (answer.status, answer.body) == (200, b"ok")
    assert_alive_after(backend, client)


def test_an_http_1_0_client_gets_no_interim_response(client: RawClient, backend: Backend) -> None:
    """RFC 9110 §15.2."""
    backend.says(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    answer = client.ask(get(version=b"1.0"))
    assert (answer.status, answer.body) == (200, b"ok")


def test_a_redirect_is_passed_on_as_it_is(client: RawClient, backend: Backend) -> None:
    """R1: neither followed nor rewritten."""
    backend.says(b"HTTP/1.1 302 Found\r\nLocation: //else//where\r\nContent-Length: 5\r\n\r\nhello")
    answer = client.ask(get())
    assert (answer.status, answer.values(b"location"), answer.body) == (302, [b"//else//where"], b"hello")


def test_the_head_does_not_wait_for_the_body(client: RawClient, backend: Backend) -> None:
    """R11: an event stream has begun when its head is there, however late the first event is."""
    go_on = threading.Event()

    def answer(peer: Peer, head: bytes) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        peer.wait(go_on)
        peer.send(b"8\r\ndata: 1\n\r\n")
        peer.send(b"0\r\n\r\n")

    backend.answer = answer
    client.send(get())
    try:
        assert client.head().values(b"content-type") == [b"text/event-stream"]
    finally:
        go_on.set()
    assert client.read_until(b"0\r\n\r\n") == b"8\r\ndata: 1\n\r\n0\r\n\r\n"


def test_each_piece_arrives_when_it_is_sent(client: RawClient, backend: Backend) -> None:
    """R11: the next one is sent only after the client has got the last."""
    got = [threading.Event() for _ in range(3)]

    def answer(peer: Peer, head: bytes) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
        for number, event in enumerate(got):
            peer.send(b"%d" % number)
            peer.wait(event)

    backend.answer = answer
    client.send(get())
    client.head()
    try:
        for number, event in enumerate(got):
            assert client.read(1) == b"%d" % number
            event.set()
    finally:
        for event in got:
            event.set()


class SlowSocket:
    """Takes a few bytes at a time, each within its time-out. Has no `sendall`, which would time them all together."""

    def __init__(self) -> None:
        self.sent = b""
        self.sock = self

    def send(self, data: bytes) -> int:
        self.sent += bytes(data[:7])
        return len(data[:7])

    def getsockname(self) -> str:
        return "/run/unix.sock"


def response_over(sock: SlowSocket) -> ResponseWriter:
    """A response of 100 bytes that has begun."""
    request = ReceivedHead("GET", "/", (1, 1), [], [])
    send = ClientConnection(sock, "", ClientTimeouts()).send
    response = ResponseWriter(send, request, cast("HttpExchange", SimpleNamespace()))
    response.start_response("200 OK", [("Content-Length", "100"), ("Date", "today")])
    return response


HEAD_OF_100 = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nDate: today\r\n\r\n"


def test_a_client_that_takes_the_response_slowly_is_not_silent() -> None:
    """The time-out for a client's body is one between two bytes, either way."""
    sock = SlowSocket()
    response_over(sock).write_all([b"0123456789" * 10])
    assert sock.sent == HEAD_OF_100 + b"0123456789" * 10


@pytest.mark.parametrize("pieces", [[], [b"x" * 99], [b"x" * 50, b"x" * 49]])
def test_an_application_that_gives_less_than_it_announced_is_noticed(pieces: list[bytes]) -> None:
    """G12: the client would take the next response for the rest of this one."""
    with pytest.raises(ShortResponse):
        response_over(SlowSocket()).write_all(pieces)


@pytest.mark.parametrize("pieces", [[b"x" * 101], [b"x" * 50, b"x" * 51], [b"x" * 100, b"x"]])
def test_an_application_that_gives_more_than_it_announced_is_cut(pieces: list[bytes]) -> None:
    """G12: the client would take the rest for the next response."""
    sock = SlowSocket()
    response_over(sock).write_all(pieces)
    assert sock.sent == HEAD_OF_100 + b"x" * 100


# What breaks off


@pytest.mark.parametrize(
    ("version", "head"),
    [
        (b"1.1", b"Content-Length: 100\r\n"),
        (b"1.1", b"Transfer-Encoding: chunked\r\n"),
        (b"1.0", b"Content-Length: 100\r\n"),
        (b"1.0", b"Transfer-Encoding: chunked\r\n"),
    ],
    ids=["length", "chunked", "1.0-length", "1.0-until-close"],
)
@pytest.mark.parametrize("end", [Peer.close, Peer.reset], ids=["closes", "resets"])
def test_a_body_that_breaks_off_breaks_off_for_the_client(
    client: RawClient, backend: Backend, version: bytes, head: bytes, end: Callable[[Peer], None]
) -> None:
    """G12, R13: by a reset, the only sign there is where a body lasts until the close (RFC 9112 §8)."""
    read = threading.Event()

    def answer(peer: Peer, _: bytes) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + (b"5\r\nhello\r\n" if b"chunked" in head else b"hello"))
        peer.wait(read)
        end(peer)

    backend.answer = answer
    client.send(get(version=version))
    try:
        client.head()
        client.read_until(b"hello")
    finally:
        read.set()
    with pytest.raises(ConnectionCut) as caught:
        client.rest()
    assert caught.value.reset
    assert b"0\r\n\r\n" not in caught.value.got


def test_a_client_that_hangs_up_ends_the_backends_response(connect: Callable[[], RawClient], backend: Backend) -> None:
    """R27."""
    ended = threading.Event()

    def answer(peer: Peer, head: bytes) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        try:
            while True:
                peer.send(b"x" * 65_536)
        except OSError:
            ended.set()
            raise

    backend.answer = answer
    with connect() as client:
        client.send(get())
        client.head()
    assert ended.wait(LONG)


@pytest.mark.parametrize(
    "junk", [b"SSH-2.0-OpenSSH_9.9\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"]
)
def test_what_is_no_http_response_becomes_a_502(client: RawClient, backend: Backend, junk: bytes) -> None:
    """R12: the client's connection is not to suffer from it."""
    backend.says(junk)
    answer = client.ask(get())
    assert answer.status == 502
    assert_alive_after(backend, client)


def test_a_method_that_is_not_idempotent_survives_a_backend_that_closed_an_idle_connection(
    client: RawClient, backend: Backend
) -> None:
    """R15: the closed connection is noticed before anything is sent over it."""
    closed = threading.Event()

    def answer_and_close(peer: Peer, head: bytes) -> None:
        peer.send(OK)
        peer.close()
        closed.set()

    backend.answer = answer_and_close
    assert client.ask(get()).status == 200
    assert closed.wait(LONG)
    backend.answer = ok
    client.send(get(b"Content-Length: 5", method=b"POST") + b"hello")
    assert client.answer().status == 200


def test_the_kernel_takes_little_for_a_client_that_does_not_read(
    connect: Callable[[], RawClient], backend: Backend
) -> None:
    """What is written beyond that costs the worker as much as for clients that read, and is thrown away."""
    size = 16 << 20

    def answer(peer: Peer, head: bytes) -> None:
        large = head.startswith(b"GET /large ")
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size) if large else OK)

    backend.answer = answer
    with connect() as slow, connect() as other:
        slow.send(get(target=b"/large"))
        slow.read_until(b"\r\n\r\n")
        for _ in range(200):  # the worker could write a piece to the slow client in each turn of its loop
            assert_alive(other)
        assert 0 < bytes_in_kernel(slow) <= UNSENT + (1 << 17)


#: The default of `limits.unsent`.
UNSENT = 1 << 18


def bytes_in_kernel(client: RawClient) -> int:
    """What the kernel holds of the server's data for this client (proc_pid_net(5), tx_queue)."""
    here, there = (f"0100007F:{port:04X}" for port in (client.sock.getpeername()[1], client.sock.getsockname()[1]))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # Not one that is in TIME_WAIT (06): its ports may be in use again.
    (row,) = [row for row in rows if row[1:3] == [here, there] and row[3] != "06"]
    return int(row[4].partition(":")[0], 16)
