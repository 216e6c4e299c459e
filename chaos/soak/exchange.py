"""The client's side of each kind of exchange: it sends all, and compares every byte with what must arrive."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable

from chaos.soak.backend import read_body
from chaos.soak.content import (
    FRAME_INTERVAL,
    PIECE_INTERVAL,
    Target,
    body,
    chunk,
    digest,
    event_text,
    frame_text,
    pieces,
)
from chaos.soak.verdict import Failure, Move
from devtools.load_client import Connection
from devtools.wire import CLOSE, HEAD_END, Head, event, frame, websocket_accept, websocket_request

#: Seconds for an exchange, above any freeze, and above the time that it takes by itself.
PATIENCE = 60.0
#: Requests of a session until another one replaces it.
SESSION_LENGTH = 30

_COOKIE = re.compile(r"LB=([^;]*)")


class WrongResponse(Exception):
    """A response that differs from what the backend must have sent."""


class Session:
    """A session: its cookies, the backend of its latest response, and the number of its requests there."""

    def __init__(self, name: int) -> None:
        self.name = name
        self.affinity = ""
        self.backend = ""
        self.count = 0
        self.requests = 0
        self.seen = 0.0  #: when the latest response arrived


class Exchange:
    """One exchange over a connection, and the facts that decide what its failure is. `reused`: the connection had
    served another exchange. `answered`: a byte of the response had arrived.
    """

    def __init__(self, target: Target, port: int, connection: Connection, session: Session | None = None) -> None:
        self.target = target
        self.port = port
        self.connection = connection
        self.session = session
        self.move: Move | None = None
        self.began = time.monotonic()
        self.reused = connection.connected
        self.answered = False
        self.status = 0

    async def run(self) -> Failure | None:
        """Do it. Returns the failure; the connection is then closed."""
        try:
            async with asyncio.timeout(PATIENCE):
                await KINDS[self.target.kind](self)
        except (OSError, EOFError, WrongResponse) as error:
            self.connection.close()
            return Failure(
                number=self.target.number, kind=self.target.kind, port=self.port, local=self.connection.local_port,
                began=self.began, ended=time.monotonic(), status=self.status, reused=self.reused,
                answered=self.answered, text=str(error) or repr(error),
            )  # fmt: skip
        return None

    async def request(self, head: bytes, expected: int = 200) -> Head:
        """Send a head, and receive that of the response. Raises WrongResponse for another status."""
        _, writer = await self.connection.open()
        writer.write(head)
        return await self.response(expected)

    async def response(self, expected: int = 200) -> Head:
        """Receive the head of the response. Raises WrongResponse for another status."""
        reader, _ = await self.connection.open()
        try:
            head = Head.parse(await reader.readuntil(HEAD_END))
        except asyncio.IncompleteReadError as error:
            self.answered = bool(error.partial)
            raise
        self.answered = True
        self.status = int(head.line[1])
        if self.status != expected:
            text = await reader.readexactly(min(head.length, 200))
            raise WrongResponse(f"{self.status}: {text.decode('latin-1').strip()}")
        return head

    async def expect(self, head: Head, expected: bytes) -> None:
        """Receive the body, and keep the connection if both sides may. Raises WrongResponse for another body."""
        reader, _ = await self.connection.open()
        received = await read_body(head, reader)
        if received != expected:
            raise WrongResponse(f"{len(received)} bytes that differ from the {len(expected)} expected")
        if head.fields.get("connection", "").lower() == "close":
            self.connection.close()

    def head(self, method: str, *fields: str) -> bytes:
        """The head of a request for the target."""
        lines = [f"{method} {self.target} HTTP/1.1", "Host: soak", *fields, "", ""]
        return "\r\n".join(lines).encode("latin-1")


async def get(exchange: Exchange) -> None:
    """GET: the response is the number."""
    await exchange.expect(await exchange.request(exchange.head("GET")), b"%d" % exchange.target.number)


async def post(exchange: Exchange) -> None:
    """POST of a short body in one piece: the response is its digest."""
    data = body(exchange.target.number, exchange.target.size)
    head = exchange.head("POST", f"Content-Length: {len(data)}")
    await exchange.expect(await exchange.request(head + data), digest(data).encode())


async def upload(exchange: Exchange) -> None:
    """POST of a long body in pieces, of a length for even numbers, chunked for odd ones: the response is its digest."""
    number, size = exchange.target.number, exchange.target.size
    chunked = number % 2
    _, writer = await exchange.connection.open()
    writer.write(exchange.head("POST", "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"))
    for piece in pieces(number, size):
        writer.write(chunk(piece) if chunked else piece)
        await writer.drain()
        await asyncio.sleep(PIECE_INTERVAL)
    if chunked:
        writer.write(chunk(b""))
    await exchange.expect(await exchange.response(), digest(body(number, size)).encode())


async def download(exchange: Exchange) -> None:
    """GET of numbered bytes."""
    head = await exchange.request(exchange.head("GET"))
    await exchange.expect(head, body(exchange.target.number, exchange.target.size))


async def events(exchange: Exchange) -> None:
    """GET of an event stream, to its end."""
    head = await exchange.request(exchange.head("GET", "Accept: text/event-stream"))
    number, count = exchange.target.number, exchange.target.size
    await exchange.expect(head, b"".join(_data(event(event_text(number, turn))) for turn in range(count)))


def _data(chunked: bytes) -> bytes:
    """The data of a chunk."""
    return chunked.partition(b"\r\n")[2][:-2]


async def websocket(exchange: Exchange) -> None:
    """A WebSocket with as many frames as the size of the target, each echoed before the next, and its close."""
    key, number = os.urandom(16), exchange.target.number
    request = websocket_request(str(exchange.target), key)
    head = await exchange.request(request, 101)
    sent = Head.parse(request).fields["sec-websocket-key"]
    if head.fields.get("sec-websocket-accept") != websocket_accept(sent):
        raise WrongResponse("another Sec-WebSocket-Accept")
    for turn in range(exchange.target.size):
        await _echo(exchange, frame(frame_text(number, turn), os.urandom(4)), frame(frame_text(number, turn)))
        await asyncio.sleep(FRAME_INTERVAL)
    await _echo(exchange, frame(b"", os.urandom(4), CLOSE), frame(b"", opcode=CLOSE))
    reader, _ = await exchange.connection.open()
    if rest := await reader.read(1):
        raise WrongResponse(f"{rest!r} after the closing handshake")
    exchange.connection.close()


async def _echo(exchange: Exchange, sent: bytes, expected: bytes) -> None:
    reader, writer = await exchange.connection.open()
    writer.write(sent)
    received = await reader.readexactly(len(expected))
    if received != expected:
        raise WrongResponse(f"the frame {received!r} instead of {expected!r}")


async def session(exchange: Exchange) -> None:
    """The next request of a session: the backend counts them in its memory, so the count shows that it is the same."""
    state = exchange.session
    if state is None:
        raise ValueError("an exchange of this kind needs its session")
    cookies = f"SESSION={state.name}" + (f"; LB={state.affinity}" if state.affinity else "")
    head = await exchange.request(exchange.head("GET", f"Cookie: {cookies}"))
    reader, _ = await exchange.connection.open()
    count = int(await reader.readexactly(head.length))
    backend, now = head.fields.get("x-backend", ""), time.monotonic()
    if state.backend and (backend != state.backend or count == 1):
        exchange.move = Move(exchange.target.number, state.backend, backend, state.seen, now)
    elif count != state.count + 1:
        raise WrongResponse(f"request {count} of the session, not {state.count + 1}")
    if found := _COOKIE.match(head.fields.get("set-cookie", "")):
        state.affinity = found[1]
    state.backend, state.count, state.seen = backend, count, now
    state.requests += 1
    if head.fields.get("connection", "").lower() == "close":
        exchange.connection.close()


KINDS: dict[str, Callable[[Exchange], Awaitable[None]]] = {
    "get": get,
    "post": post,
    "session": session,
    "upload": upload,
    "download": download,
    "events": events,
    "websocket": websocket,
}
