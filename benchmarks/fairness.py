"""Whether a proxy serves many connections in turn: those that come together, and later ones.

So many clients connect at the same moment and send one request after another, each when it has the response to the one
before. Counted is how many responses other connections get between a request and its response, divided by the number
of connections: 1 or less where all have their turn. Unlike a time, this hardly depends on the speed of the machine or
on its other load. The first request of each client is apart: it also waits until its connection is accepted, and a
percentile over a short run consists of such waits if they are long. The table has the times too; the medians of the
rounds are compared.

    python -m benchmarks.fairness [--connections 128] [--rounds 5] [--seconds 3] [--before CHECKOUT]
"""

from __future__ import annotations

import math
import select
import shutil
import socket
import statistics
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.harness import Bench, await_response, bench, free_ports, need, running
from benchmarks.load import GET
from benchmarks.proxies import BUILD_NAMES, GO_TUNED, Competitor, builds, go_proxy, haproxy, here, nginx, nginx_backends
from devtools.environment import HOST
from devtools.report import Check, conclude, options, percentile, say, table

#: The most that others may get before the first response of a client, and before 99 of 100 later ones.
FIRST, LATER = 2.0, 3.0


@dataclass
class Waits:
    """Requests: the seconds until their responses, and the turns that others had meanwhile."""

    seconds: list[float] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Round:
    """One run. Milliseconds, and turns of all connections."""

    first_ms: float  #: until the last client has its first response; infinite if one has none
    first: float
    later_ms: float  #: the 99th percentile of all further requests
    later: float

    def row(self) -> list[str]:
        """As a part of a line of the table."""
        return [f"{self.first_ms:.1f}", f"{self.first:.2f}", f"{self.later_ms:.1f}", f"{self.later:.2f}"]


HEAD = ["last first response, ms", "in turns", "p99 of later ones, ms", "in turns"]


class Client:
    """A connection that carries one request after another. A response arrives in one piece."""

    def __init__(self, port: int) -> None:
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect_ex((HOST, port))
        self._served_before = -1  #: responses of all clients when the present request was sent; -1 before the first
        self._sent_at = 0.0
        self._first = True

    def proceed(self, served: int, first: Waits, later: Waits) -> int:
        """Continue when the socket is ready. Returns the responses that have arrived: 0 or 1."""
        arrived = 0
        if self._served_before >= 0:
            if not self.sock.recv(1 << 16):
                raise ConnectionError("the proxy has closed a connection")
            arrived = 1
            waits = first if self._first else later
            waits.seconds.append(time.monotonic() - self._sent_at)
            waits.turns.append(served - self._served_before)
            self._first = False
        self.sock.send(GET)
        self._sent_at, self._served_before = time.monotonic(), served + arrived
        return arrived


def measure(port: int, connections: int, seconds: float) -> Round:
    """A run of so many clients. Raises OSError when a connection fails."""
    first, later, served = Waits(), Waits(), 0
    with ExitStack() as stack, select.epoll() as poll:
        clients = {}
        for _ in range(connections):
            client = Client(port)
            stack.callback(client.sock.close)
            clients[client.sock.fileno()] = client
            poll.register(client.sock, select.EPOLLOUT)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for descriptor, event in poll.poll(0.1):
                if event & select.EPOLLOUT:
                    poll.modify(descriptor, select.EPOLLIN)
                served += clients[descriptor].proceed(served, first, later)
    all_served = len(first.seconds) == connections
    return Round(
        max(first.seconds) * 1000 if all_served else math.inf,
        max(first.turns) / connections if all_served else math.inf,
        percentile(later.seconds, 99) * 1000,
        percentile(later.turns, 99) / connections,
    )


def typical(rounds: list[Round]) -> Round:
    """The medians."""
    return Round(*(statistics.median(column) for column in zip(*map(_figures, rounds), strict=True)))


def _figures(one: Round) -> list[float]:
    return list(asdict(one).values())


def competitors(backends: list[int], place: Bench, before: Path | None) -> list[Competitor]:
    """lbflask in each build, as it was in the checkout `before`, nginx, and what else is installed."""
    found = [*builds(backends, place, before), nginx(backends, place.work)]
    if here("go", shutil.which("go")):
        found.append(go_proxy(backends, place.work, GO_TUNED, 512))
    if here("haproxy", shutil.which("haproxy")):
        found.append(haproxy(backends, place.work))
    return found


def judge(name: str, found: Round) -> list[Check]:
    """The targets of a build of lbflask."""
    return [
        Check(f"{name}: turns of others before the first response of a client", found.first, FIRST),
        Check(f"{name}: turns of others before a later response, p99", found.later, LATER),
    ]


def main() -> None:
    parser = options(__doc__, "fairness")
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--before", type=Path, help="a checkout of another version, with its .venv")
    given = parser.parse_args()
    rounds, seconds = (1, 1.0) if given.quick else (given.rounds, given.seconds)
    need("nginx")
    with ExitStack() as stack:
        place = stack.enter_context(bench())
        backends = free_ports(3)
        stack.enter_context(running([nginx_backends(backends, place.work)], backends[0]))
        entered = competitors(backends, place, given.before)
        for competitor in entered:
            stack.enter_context(competitor.started())
            await_response(competitor.port)
            measure(competitor.port, 32, 1)  # warm
        found: dict[str, list[Round]] = {competitor.name: [] for competitor in entered}
        for turn in range(rounds):
            for competitor in entered:
                found[competitor.name].append(measure(competitor.port, given.connections, seconds))
                say(f"round {turn + 1}, {competitor.name}: {', '.join(found[competitor.name][-1].row())}")
    medians = {name: typical(those) for name, those in found.items()}
    print(table([f"{given.connections} clients", *HEAD], [[name, *one.row()] for name, one in medians.items()]))
    print()
    checks = [check for name, one in medians.items() if name in BUILD_NAMES.values() for check in judge(name, one)]
    conclude(given, checks, {"rounds": {name: list(map(asdict, those)) for name, those in found.items()}})


if __name__ == "__main__":
    main()
