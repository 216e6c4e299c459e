"""Idle event streams and WebSockets held open through two workers, during ordinary requests.

Each event stream delivers an event now and then; WebSockets are silent. At the end every event stream must deliver a
last event and every WebSocket an echo. Ordinary requests are sent at a modest steady rate, before and while the streams
are open; memory is the growth of both workers' PSS, divided by the streams.

    python -m benchmarks.streams [--streams 2000] [--sockets 2000] [--hold 60] [--through lbflask]
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from benchmarks import load, proxies
from benchmarks.harness import bench, free_ports, proportional, running, serving
from devtools.environment import HOST
from devtools.load_client import Connection
from devtools.report import KIB, Check, conclude, options, ratio, say, table
from devtools.wire import HEAD_END, frame, websocket_request

LATENCY = 2.0
MEMORY_KIB = 64
#: Streams that are being opened at once.
OPENING = 64
#: Seconds to open a stream, and to deliver its last message.
WITHIN = 15.0

EVENTS = b"GET /events HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n"
POST_LAST = b"POST /last HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n"


class Stream(asyncio.Protocol):
    """The client's end of a stream: it waits for a text, and notices when the stream is cut."""

    def __init__(self) -> None:
        self.gone = False
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._wanted = b""
        self._found: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, _exc: Exception | None) -> None:
        self.gone = True
        self._settle(b"")

    def data_received(self, data: bytes) -> None:
        if self._found is not None:
            self._received += data
            if self._wanted in self._received:
                self._settle(self._received)

    def _settle(self, found: bytes) -> None:
        if self._found is not None and not self._found.done():
            self._found.set_result(found)

    async def receive_until(self, wanted: bytes, after: bytes = b"") -> bytes:
        """Send bytes, and return what arrives up to the text; empty if it does not arrive."""
        if self.gone or self._transport is None:
            return b""
        self._received, self._wanted = b"", wanted
        self._found = asyncio.get_running_loop().create_future()
        self._transport.write(after)
        try:
            async with asyncio.timeout(WITHIN):
                return await self._found
        except TimeoutError:
            return b""
        finally:
            self._found, self._received = None, b""

    def close(self) -> None:
        """Close."""
        if self._transport is not None:
            self._transport.abort()


@dataclass
class Held:
    """The results of the streams."""

    events_open: int = 0
    sockets_open: int = 0
    events_alive: int = 0
    sockets_alive: int = 0
    memory: int = 0  #: bytes by which the workers grew

    @property
    def memory_each(self) -> float:
        """KiB a stream."""
        return ratio(self.memory / KIB, self.events_open + self.sockets_open)


async def opened(port: int, count: int, greeting: Callable[[], bytes], status: bytes) -> list[Stream]:
    """Open up to so many streams. Returns those that got this status."""
    loop = asyncio.get_running_loop()
    slots = asyncio.Semaphore(OPENING)

    async def one() -> Stream | None:
        async with slots:
            try:
                _, stream = await loop.create_connection(Stream, HOST, port)
            except OSError:
                return None
            if (await stream.receive_until(HEAD_END, greeting())).startswith(b"HTTP/1.1 " + status):
                return stream
            stream.close()
            return None

    return [stream for stream in await asyncio.gather(*(one() for _ in range(count))) if stream is not None]


async def delivered(answers: Iterable[Awaitable[bytes]]) -> int:
    """The number of streams that got something."""
    return sum(map(bool, await asyncio.gather(*answers)))


async def deliver_last(backend: int, events: list[Stream], sockets: list[Stream], held: Held) -> None:
    """Send a last message over each stream, and count those that deliver it."""
    waiting = [asyncio.ensure_future(stream.receive_until(b"data: last")) for stream in events]
    await asyncio.sleep(0)  # so that all of them listen
    publisher = Connection(backend)
    await publisher.send(POST_LAST)
    publisher.close()
    held.events_alive = await delivered(waiting)
    held.sockets_alive = await delivered(
        socket.receive_until(b"last", frame(b"last", os.urandom(4))) for socket in sockets
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """The streams to hold, the seconds, and the rate of the ordinary requests."""

    streams: int
    sockets: int
    hold: float
    rate: float


async def hold(port: int, backend: int, process: int, plan: Plan) -> tuple[load.Load, load.Load, Held]:
    """Ordinary requests alone, then while the streams are held, and the results of the streams."""
    await load.run(port, plan.rate, min(5.0, plan.hold))  # warm
    alone = await load.run(port, plan.rate, plan.hold)
    workers = serving(process)
    before = proportional(workers)
    events = await opened(port, plan.streams, lambda: EVENTS, b"200")
    sockets = await opened(port, plan.sockets, lambda: websocket_request("/ws", os.urandom(16)), b"101")
    held = Held(len(events), len(sockets), memory=proportional(workers) - before)
    say(f"open: {held.events_open} event streams, {held.sockets_open} WebSockets")
    meanwhile = await load.run(port, plan.rate, plan.hold)
    held.memory = max(held.memory, proportional(workers) - before)
    await deliver_last(backend, events, sockets, held)
    for stream in events + sockets:
        stream.close()
    return alone, meanwhile, held


def judge(plan: Plan, alone: load.Load, meanwhile: load.Load, held: Held) -> list[Check]:
    return [
        Check("event streams alive at the end", held.events_alive, plan.streams, at_least=True),
        Check("WebSockets alive at the end", held.sockets_alive, plan.sockets, at_least=True),
        Check("p99 of ordinary requests, against none held", ratio(meanwhile.ms(99), alone.ms(99)), LATENCY, "x"),
        Check("failed ordinary requests", alone.errors + meanwhile.errors, 0),
        Check("workers' memory for a stream", held.memory_each, MEMORY_KIB, "KiB"),
    ]


def main() -> None:
    parser = options(__doc__, "streams")
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--sockets", type=int, default=2000)
    parser.add_argument("--hold", type=float, default=60, help="seconds")
    parser.add_argument("--every", type=float, default=30, help="seconds between two events of a stream")
    parser.add_argument("--rate", type=float, default=200, help="ordinary requests a second")
    parser.add_argument("--through", choices=proxies.NAMES, default="lbflask")
    given = parser.parse_args()
    plan = Plan(given.streams, given.sockets, given.hold, given.rate)
    if given.quick:
        plan = Plan(200, 200, 3, given.rate)
    settings = {"LIMITS__TUNNELS": str(plan.sockets)}
    with ExitStack() as stack:
        rig = stack.enter_context(bench())
        (backend,) = free_ports(1)
        command = [sys.executable, "-m", "benchmarks.backends.origin", str(backend), str(given.every)]
        stack.enter_context(running([command], backend))
        proxy = proxies.one_of(given.through, [backend], rig, **settings)
        process = stack.enter_context(proxy.started())
        alone, meanwhile, held = asyncio.run(hold(proxy.port, backend, process, plan))
    rows = [
        [name, f"{len(done.latencies):,}", f"{done.ms(50):.2f}", f"{done.ms(99):.2f}"]
        for name, done in (("alone", alone), ("with streams", meanwhile))
    ]
    print(table([f"ordinary requests through {proxy.name}", "answers", "p50 ms", "p99 ms"], rows), end="\n\n")
    numbers = {"through": proxy.name, "plan": asdict(plan), "held": asdict(held)}
    numbers |= {"alone": alone.summary(), "meanwhile": meanwhile.summary()}
    conclude(given, judge(plan, alone, meanwhile, held), numbers)


if __name__ == "__main__":
    main()
