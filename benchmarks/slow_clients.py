"""Slow clients that occupy the balancer during ordinary requests, and the ends of their connections.

Three kinds, as many of each: `head` sends a request head byte by byte, `body` a request body, `reader` reads a large
response byte by byte through a small receive buffer. Their starts are spread over time; the measurement lasts while all
of them are connected. lbflask's time-outs are short, and end them afterwards: the table shows what closed each kind,
and after how many seconds.

    python -m benchmarks.slow_clients [--clients 500] [--seconds 6] [--rounds 3] [--kinds head,body,reader]
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field

from benchmarks import load, proxies
from benchmarks.harness import bench, free_ports, running
from devtools.environment import HOST
from devtools.report import MIB, Check, conclude, options, percentile, ratio, say, table

LATENCY = 2.0
#: Seconds between two bytes of a slow client.
PACE = 1.0
#: Seconds of lbflask's time-outs.
HEAD, BODY, REQUEST = 10.0, 10.0, 12.0
#: Seconds by which a time-out may be late: clients check the state of their connection once a step.
LATE = 2 * PACE + 1.0
#: Seconds until all slow clients are there.
GATHERING = 3.0
#: More than the kernel's buffers take between a backend and a client that does not read.
LARGE = 64 * MIB
OPEN = "still open"

KINDS = {
    "head": "GET / HTTP/1.1\r\nHost: bench\r\nX-Slow: " + "x" * 4096,
    "body": "POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: 1000000\r\n\r\n",
    "reader": f"GET /large/{LARGE} HTTP/1.1\r\nHost: bench\r\n\r\n",
}

#: The first byte of TCP_INFO for a connection that the peer has ended (linux/tcp_states.h).
ENDED = {7: "reset", 8: "closed"}  # TCP_CLOSE, TCP_CLOSE_WAIT


@dataclass
class Fates:
    """How the slow clients of one kind ended: why, and after how many seconds."""

    ends: dict[str, int] = field(default_factory=dict)
    lives: list[float] = field(default_factory=list)

    def add(self, end: str, seconds: float) -> None:
        """One more has ended."""
        self.ends[end] = self.ends.get(end, 0) + 1
        self.lives.append(seconds)

    def row(self, kind: str) -> list[str]:
        """As a line of the table."""
        ends = ", ".join(f"{end}: {count}" for end, count in sorted(self.ends.items()))
        return [kind, ends, *(f"{percentile(self.lives, percent):.1f}" for percent in (50, 100))]


def state(sock: socket.socket) -> str:
    """What the other side has done to the connection; empty as long as it is open."""
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return "reset"
    return ENDED.get(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0], "")


class SlowClient:
    """One slow client. It checks the state of the connection: a slow reader would notice its end late."""

    def __init__(self, port: int, kind: str) -> None:
        self._port = port
        self._kind = kind
        self._answer = b""

    async def live(self, until: float) -> str:
        """How it ended, or that it did not until this time of the loop."""
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._kind == "reader":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            try:
                await loop.sock_connect(sock, (HOST, self._port))
                trickle = KINDS[self._kind].encode()
                if self._kind != "head":
                    await loop.sock_sendall(sock, trickle)
                    trickle = bytes(4096)
                return await self._dawdle(sock, trickle, until)
            except OSError as error:
                return "reset" if isinstance(error, ConnectionError) else type(error).__name__

    async def _dawdle(self, sock: socket.socket, trickle: bytes, until: float) -> str:
        loop = asyncio.get_running_loop()
        for at in range(len(trickle)):
            if self._take(sock):
                return f"answered {self._answer[9:12].decode('latin-1')}"
            if ended := state(sock):
                return ended
            if loop.time() > until:
                break
            if self._kind != "reader":
                sock.send(trickle[at : at + 1])
            await asyncio.sleep(PACE)
        return OPEN

    def _take(self, sock: socket.socket) -> bool:
        """Read a byte, or a response that arrives while the request is sent. Returns whether it was a response."""
        try:
            data = sock.recv(1 if self._kind == "reader" else 4096)
        except BlockingIOError:
            return False
        self._answer += data if self._kind != "reader" else b""
        return self._answer.startswith(b"HTTP/1.1 ")


class Crowd:
    """So many slow clients of each kind."""

    def __init__(self, port: int, each: int, fates: dict[str, Fates]) -> None:
        self._fates = fates
        self._port = port
        self._slots = [
            asyncio.create_task(self._slot(kind, GATHERING * number / each)) for kind in fates for number in range(each)
        ]

    async def _slot(self, kind: str, wait: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(wait)
        began = loop.time()
        end = await SlowClient(self._port, kind).live(began + allowed(kind))
        self._fates[kind].add(end, loop.time() - began)

    async def disperse(self) -> None:
        """Wait for them to be closed, or for their time to be over."""
        await asyncio.gather(*self._slots)


def allowed(kind: str) -> float:
    """Seconds that the time-outs give a slow client, and some for being late."""
    return {"head": HEAD, "body": REQUEST, "reader": max(BODY, REQUEST)}[kind] + LATE


@dataclass
class Rounds:
    """All that was measured."""

    fates: dict[str, Fates]
    without: list[load.Load] = field(default_factory=list)
    among: list[load.Load] = field(default_factory=list)

    def times(self, percent: float) -> float:
        """The percentile of ordinary requests among slow clients against without them: median of the rounds."""
        pairs = zip(self.among, self.without, strict=True)
        return statistics.median(ratio(one.ms(percent), other.ms(percent)) for one, other in pairs)


@dataclass(frozen=True, slots=True)
class Plan:
    """How many slow clients of which kinds, and for how long; the rate of the ordinary requests."""

    clients: int
    kinds: tuple[str, ...]
    rounds: int
    seconds: float
    rate: float


async def measure(port: int, plan: Plan) -> Rounds:
    """Ordinary requests without slow clients and among them, in turn."""
    found = Rounds({kind: Fates() for kind in plan.kinds})
    rate, seconds = plan.rate, plan.seconds
    await load.run(port, rate, min(5.0, seconds))  # warm
    for turn in range(plan.rounds):
        found.without.append(await load.run(port, rate, seconds))
        crowd = Crowd(port, plan.clients // len(plan.kinds), found.fates)
        await asyncio.sleep(GATHERING)
        found.among.append(await load.run(port, rate, seconds))
        await crowd.disperse()
        say(f"round {turn + 1}: p99 {found.without[-1].ms(99):.2f} ms, among slow ones {found.among[-1].ms(99):.2f} ms")
    return found


def judge(found: Rounds) -> list[Check]:
    errors = sum(done.errors for done in found.without + found.among)
    return [
        Check("p50 of ordinary requests, against no slow ones", found.times(50), LATENCY, "x"),
        Check("p99 of ordinary requests, against no slow ones", found.times(99), LATENCY, "x"),
        Check("failed ordinary requests", errors, 0),
        *(
            Check(f"slow clients still open after {allowed(kind):g} s: {kind}", fates.ends.get(OPEN, 0), 0)
            for kind, fates in found.fates.items()
        ),
    ]


def settings() -> dict[str, str]:
    """Short time-outs."""
    return {"TIMEOUTS__CLIENT_HEAD": str(HEAD), "TIMEOUTS__CLIENT_BODY": str(BODY), "TIMEOUTS__REQUEST": str(REQUEST)}


def main() -> None:
    parser = options(__doc__, "slow_clients")
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=HEAD - GATHERING - 1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=200, help="ordinary requests a second")
    parser.add_argument("--through", choices=proxies.NAMES, default="lbflask")
    parser.add_argument("--kinds", default=",".join(KINDS), help="which slow clients there are, with commas")
    given = parser.parse_args()
    rounds, seconds = (1, 4.0) if given.quick else (given.rounds, given.seconds)
    plan = Plan(given.clients, tuple(given.kinds.split(",")), rounds, seconds, given.rate)
    if not KINDS.keys() >= set(plan.kinds):
        parser.error(f"the kinds are {', '.join(KINDS)}")
    with ExitStack() as stack:
        rig = stack.enter_context(bench())
        (backend,) = free_ports(1)
        command = [sys.executable, "-m", "benchmarks.backends.origin", str(backend), "30"]
        stack.enter_context(running([command], backend))
        proxy = proxies.one_of(given.through, [backend], rig, **settings())
        stack.enter_context(proxy.started())
        found = asyncio.run(measure(proxy.port, plan))
    rows = [fates.row(kind) for kind, fates in found.fates.items()]
    print(table([f"slow clients of {proxy.name}", "what ended them", "seconds, median", "at most"], rows), end="\n\n")
    ends = {kind: fates.ends for kind, fates in found.fates.items()}
    loads = {"without": [one.summary() for one in found.without], "among": [one.summary() for one in found.among]}
    conclude(given, judge(found), {"through": proxy.name, "plan": asdict(plan), "ends": ends, **loads})


if __name__ == "__main__":
    main()
