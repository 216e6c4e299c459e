"""The shapes of a case, and how each is held against a server.

A case is a value: its name, the rule that it holds us to, what one side sends, and what the other has to see.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from devtools.raw_client import ConnectionCut, RawClient, RawResponse
from devtools.wait import PATIENCE
from lbflask.core.http.reason_phrases import reason_phrase
from tests.conformance.servers import STOCK, Rig
from tests.support.programmed import Received, says, says_and_closes

#: A request that is sent to see that the connection is still good.
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"


def ask(*fields: bytes, target: bytes = b"/", method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    """A request head with a Host."""
    return b"\r\n".join([method + b" " + target + b" HTTP/" + version, b"Host: a", *fields]) + b"\r\n\r\n"


def post(body: bytes = b"hello", *fields: bytes, target: bytes = b"/") -> bytes:
    """A POST with a body of known length."""
    return ask(b"Content-Length: %d" % len(body), *fields, method=b"POST", target=target) + body


def chunked(*pieces: bytes, trailers: tuple[bytes, ...] = (), fields: tuple[bytes, ...] = ()) -> bytes:
    """A POST whose body comes in these chunks."""
    head = ask(b"Transfer-Encoding: chunked", *fields, method=b"POST")
    return head + chunks(*pieces, trailers=trailers)


def chunks(*pieces: bytes, trailers: tuple[bytes, ...] = ()) -> bytes:
    """A chunked body, complete."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return body + b"0\r\n" + b"".join(line + b"\r\n" for line in trailers) + b"\r\n"


def reply(*fields: bytes, body: bytes = b"", status: bytes = b"200 OK") -> bytes:
    """A response with these fields; those that frame the body are up to the case."""
    return b"\r\n".join([b"HTTP/1.1 " + status, *fields]) + b"\r\n\r\n" + body


def sized(body: bytes, *fields: bytes, status: bytes = b"200 OK") -> bytes:
    """A response with a body of known length."""
    return reply(b"Content-Length: %d" % len(body), *fields, body=body, status=status)


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A request that reaches the backend.

    `line` is its request line there, the client's own if empty. The fields of the names in `has` are exactly these
    lines, in this order; no field has a name in `lacks`. `body` stands in what follows
    the head. `stock` says that it holds on gunicorn's own workers too, but for the order and the case of fields.
    """

    name: str
    rule: str
    request: bytes
    line: bytes = b""
    has: tuple[bytes, ...] = ()
    lacks: tuple[bytes, ...] = ()
    body: bytes | None = None
    stock: bool = True

    def hold(self, rig: Rig, client: RawClient) -> None:
        """Fails unless the backend sees what it has to, and the client its answer."""
        bodies = rig.backend.takes_the_body()
        client.send(self.request)
        method = self.request.split(b" ")[0]
        answer = client.answer(method.decode())
        assert answer.status == 200
        seen = rig.backend.request
        assert seen.line == (self.line or self.request.split(b"\r\n")[0])
        assert _of_names(seen.lines, self.has, rig) == _of_names(self.has, self.has, rig)
        assert [name for name in seen.names if name in self.lacks] == []
        if self.body is not None:
            raw = bodies.get(timeout=PATIENCE)
            assert self.body in raw, raw
        if answer.values(b"connection") != [b"close"]:
            assert_alive(rig, client)


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that is answered by us with one of these statuses, and of which the backend hears nothing."""

    name: str
    rule: str
    request: bytes
    statuses: tuple[int, ...] = (400,)
    stock: bool = True

    def hold(self, rig: Rig, client: RawClient) -> None:
        """Fails unless the client is told, and the backend is not."""
        client.send(self.request)
        answer = client.answer("GET")
        assert answer.status in self.statuses
        assert b"Traceback" not in answer.body
        if answer.status >= 400 and rig.kind not in STOCK:
            assert answer.values(b"content-type") == [b"text/plain; charset=utf-8"]
            assert answer.line.decode() == f"HTTP/1.1 {answer.status} {reason_phrase(answer.status)}"
            answer.body.decode("utf-8")
        if answer.values(b"connection") == [b"close"]:
            assert _rest(client) == b""
        else:
            assert rig.backend.requests == []
            assert_alive(rig, client)
            rig.backend.requests.pop()
        rig.settle()
        assert rig.backend.requests == []


@dataclass(frozen=True, slots=True)
class Attack:
    """A request that two readers could read in two ways; `/smuggled` stands where the second one would begin.

    It is refused with one of these statuses, or, where 200 is one of them, forwarded in a form that has one reading.
    """

    name: str
    rule: str
    request: bytes
    statuses: tuple[int, ...] = (400,)
    stock: bool = True

    def hold(self, rig: Rig, client: RawClient) -> None:
        """Fails if the backend ever sees more than the one request, or one that is not plain."""
        client.send(self.request)
        try:
            answer = client.answer()
            assert answer.status in self.statuses
            if answer.values(b"connection") != [b"close"]:
                assert client.ask(NEXT).body == b"ok"
                assert rig.backend.requests.pop().target == b"/next"
            else:
                assert _rest(client) == b""
        except ConnectionCut:
            rig.settle()
            assert rig.backend.requests, "cut, and nothing was said"
        rig.settle()
        assert len(rig.backend.requests) <= (1 if 200 in self.statuses or _breaks_within(self.request) else 0)
        for seen in rig.backend.requests:
            _assert_plain(seen)


def _breaks_within(request: bytes) -> bool:
    """Whether the head is in order, so that it may have been passed on before the body was seen."""
    return b"\r\nTransfer-Encoding: chunked\r\n" in request and b"Content-Length" not in request


@dataclass(frozen=True, slots=True)
class Answered:
    """A response that reaches the client; the fields of it as those of Forwarded."""

    name: str
    rule: str
    reply: bytes
    line: bytes = b"HTTP/1.1 200 OK"
    has: tuple[bytes, ...] = ()
    lacks: tuple[bytes, ...] = ()
    body: bytes = b""
    request: bytes = ask()
    closing: bool = False  #: the backend closes the connection after it
    stock: bool = True

    def hold(self, rig: Rig, client: RawClient) -> None:
        """Fails unless the client gets what it has to."""
        rig.backend.answer = says_and_closes(self.reply) if self.closing else says(self.reply)
        method = self.request.split(b" ")[0].decode()
        client.send(self.request)
        answer = client.answer(method)
        assert answer.line.partition(b" ")[2] == self.line.partition(b" ")[2]
        assert answer.line == self.line or rig.kind in STOCK  # which answer HTTP/1.0 in HTTP/1.0
        lines = [name + b": " + value for name, value in answer.fields]
        assert _of_names(lines, self.has, rig) == _of_names(self.has, self.has, rig)
        assert [name for name in answer.names if name in self.lacks] == []
        assert answer.body == self.body
        assert len(rig.backend.requests) == 1
        if answer.values(b"connection") == [b"close"]:
            assert client.rest() == b""
        else:
            assert_alive(rig, client)


@dataclass(frozen=True, slots=True)
class Junk:
    """What a backend says that is no response: the client hears 502, and its connection is as good as before."""

    name: str
    rule: str
    reply: bytes
    request: bytes = ask()
    closing: bool = False
    stock: bool = True

    def hold(self, rig: Rig, client: RawClient) -> None:
        """Fails unless the client is told shortly, and the backend's connection is not used again."""
        rig.backend.answer = says_and_closes(self.reply) if self.closing else says(self.reply)
        client.send(self.request)
        answer = client.answer()
        assert answer.status == 502
        assert_told_shortly(answer)
        # A reused connection that closes without a word had gone stale, so that GET is tried once more.
        assert len(rig.backend.requests) == 1 or not self.reply
        if answer.values(b"connection") != [b"close"]:
            assert_alive(rig, client)


def assert_told_shortly(answer: RawResponse) -> None:
    """One line of text, and nothing about the backends."""
    assert answer.values(b"content-type") == [b"text/plain; charset=utf-8"]
    assert answer.body.startswith(b"%d " % answer.status)
    assert answer.body.count(b"\n") == 1
    assert b"127.0.0.1" not in answer.body


def assert_told_in_json(answer: RawResponse) -> None:
    """The same as a document."""
    assert answer.values(b"content-type") == [b"application/json"]
    assert json.loads(answer.body)["status"] == answer.status


def assert_alive(rig: Rig, client: RawClient) -> None:
    """The connection carries another request, and its answer is the one to that."""
    rig.backend.answer = says(sized(b"next"))
    answer = client.ask(NEXT)
    assert (answer.status, answer.body) == (200, b"next")
    assert rig.backend.requests[-1].line == b"GET /next HTTP/1.1"


def _of_names(lines: list[bytes] | tuple[bytes, ...], like: tuple[bytes, ...], rig: Rig) -> list[bytes]:
    """The lines whose names are among those of `like`; as a set without case where WSGI keeps no more."""
    names = {line.partition(b":")[0].lower() for line in like}
    found = [line for line in lines if line.partition(b":")[0].lower() in names]
    if rig.kind in STOCK:
        return sorted(name.lower() + colon + value for name, colon, value in (line.partition(b":") for line in found))
    return found


def _rest(client: RawClient) -> bytes:
    """What comes until the end, however the connection ends."""
    try:
        return client.rest()
    except ConnectionCut as cut:
        return cut.got


def _assert_plain(seen: Received) -> None:
    assert b"smuggled" not in seen.line
    assert seen.head.count(b"\r\n") == seen.head.count(b"\n") == seen.head.count(b"\r")
    assert b"\x00" not in seen.head
    framing = [name for name in seen.names if name in (b"content-length", b"transfer-encoding")]
    assert len(framing) <= 1, "one framing, said once"
    assert all(value == b"chunked" for value in seen.values(b"transfer-encoding"))
    assert all(value.isdigit() for value in seen.values(b"content-length"))
