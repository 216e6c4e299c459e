"""Slow clients that occupy the balancer during ordinary requests, and the ends of their connections.

Three kinds, as many of each: `head` sends a request head byte by byte, `body` a request body, `reader` reads a large
response byte by byte through a small receive buffer. Their starts are spread over time; the measurement lasts while all
of them are connected. lbflask's time-outs are short, and end them afterwards: the table shows what closed each kind,
and after how many seconds. A fourth kind, `churn`, is measured apart: readers that leave after a few seconds, each
replaced by a new one, for which proxy and kernel fill their buffers again.

    python -m benchmarks.slow_clients [--clients 500] [--seconds 6] [--rounds 3] [--kinds head,body,reader,churn]
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
CHURN, LEFT = "churn", "left"
#: Seconds for which a reader of the churn stays: 167 of them, as many as of another kind, are 55 new ones a second.
STAY = 3.0

KINDS = {
    "head": "GET / HTTP/1.1\r\nHost: bench\r\nX-Slow: " + "x" * 4096,
    "body": "POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: 1000000\r\n\r\n",
    "reader": f"GET /large/{LARGE} HTTP/1.1\r\nHost: bench\r\n\r\n",
    CHURN: f"GET /large/{LARGE} HTTP/1.1\r\nHost: bench\r\n\r\n",
}
READERS = ("reader", CHURN)

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
            if self._kind in READERS:
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
            if self._kind not in READERS:
                sock.send(trickle[at : at + 1])
            await asyncio.sleep(PACE)
        return OPEN

    def _take(self, sock: socket.socket) -> bool:
        """Read a byte, or a response that arrives while the request is sent. Returns whether it was a response."""
        try:
            data = sock.recv(1 if self._kind in READERS else 4096)
        except BlockingIOError:
            return False
        self._answer += data if self._kind not in READERS else b""
        return self._answer.startswith(b"HTTP/1.1 ")


class Crowd:
    """So many slow clients of each kind."""

    def __init__(self, port: int, each: int, fates: dict[str, Fates], seconds: float) -> None:
        """Those of the churn come and go for so many seconds after all have come."""
        self._fates = fates
        self._port = port
        self._churn = GATHERING + seconds
        self._slots = [
            asyncio.create_task(self._slot(kind, GATHERING * number / each)) for kind in fates for number in range(each)
        ]

    async def _slot(self, kind: str, wait: float) -> None:
        churn_ends = asyncio.get_running_loop().time() + self._churn
        await asyncio.sleep(wait)
        if kind != CHURN:
            await self._live(kind, allowed(kind))
        while kind == CHURN and asyncio.get_running_loop().time() < churn_ends:
            await self._live(kind, STAY)

    async def _live(self, kind: str, seconds: float) -> None:
        """One client, for at most so many seconds."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        end = await SlowClient(self._port, kind).live(began + seconds)
        self._fates[kind].add(LEFT if end == OPEN and kind == CHURN else end, loop.time() - began)

    async def disperse(self) -> None:
        """Wait for them to be closed, or for their time to be over."""
        await asyncio.gather(*self._slots)


def allowed(kind: str) -> float:
    """Seconds that the time-outs give a slow client, and some for being late."""
    return {"head": HEAD, "body": REQUEST, "reader": max(BODY, REQUEST), CHURN: STAY}[kind] + LATE


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
    """How many slow clients of each kind, and for how long; the rate of the ordinary requests."""

    each: int
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
        crowd = Crowd(port, plan.each, found.fates, seconds)
        await asyncio.sleep(GATHERING)
        found.among.append(await load.run(port, rate, seconds))
        await crowd.disperse()
        alone, among = found.without[-1].ms(99), found.among[-1].ms(99)
        say(f"round {turn + 1}: p99 {alone:.2f} ms, among {', '.join(plan.kinds)} {among:.2f} ms")
    return found


def judge(found: Rounds) -> list[Check]:
    those = ", ".join(found.fates)
    errors = sum(done.errors for done in found.without + found.among)
    return [
        Check(f"p50 of ordinary requests among {those}, against none", found.times(50), LATENCY, "x"),
        Check(f"p99 of ordinary requests among {those}, against none", found.times(99), LATENCY, "x"),
        Check(f"failed ordinary requests among {those}", errors, 0),
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
    parser.add_argument("--clients", type=int, default=500, help="of three kinds; as many of the churn as of one")
    parser.add_argument("--seconds", type=float, default=HEAD - GATHERING - 1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=200, help="ordinary requests a second")
    parser.add_argument("--through", choices=proxies.NAMES, default="lbflask")
    parser.add_argument("--kinds", default=",".join(KINDS), help="which slow clients there are, with commas")
    given = parser.parse_args()
    rounds, seconds = (1, 4.0) if given.quick else (given.rounds, given.seconds)
    kinds = given.kinds.split(",")
    if not KINDS.keys() >= set(kinds):
        parser.error(f"the kinds are {', '.join(KINDS)}")
    groups = [tuple(kind for kind in kinds if (kind == CHURN) is apart) for apart in (False, True)]
    plans = [Plan(given.clients // 3, group, rounds, seconds, given.rate) for group in groups if group]
    with ExitStack() as stack:
        rig = stack.enter_context(bench())
        (backend,) = free_ports(1)
        command = [sys.executable, "-m", "benchmarks.backends.origin", str(backend), "30"]
        stack.enter_context(running([command], backend))
        proxy = proxies.one_of(given.through, [backend], rig, **settings())
        stack.enter_context(proxy.started())
        found = [asyncio.run(measure(proxy.port, plan)) for plan in plans]
    rows = [fates.row(kind) for one in found for kind, fates in one.fates.items()]
    print(table([f"slow clients of {proxy.name}", "what ended them", "seconds, median", "at most"], rows), end="\n\n")
    numbers = [
        {
            "plan": asdict(plan),
            "ends": {kind: fates.ends for kind, fates in one.fates.items()},
            "without": [done.summary() for done in one.without],
            "among": [done.summary() for done in one.among],
        }
        for plan, one in zip(plans, found, strict=True)
    ]
    conclude(given, [check for one in found for check in judge(one)], {"through": proxy.name, "groups": numbers})


if __name__ == "__main__":
    main()
