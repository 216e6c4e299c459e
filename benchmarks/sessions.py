"""Sticky sessions over two instances of two workers each: every session keeps its backend, through either instance.

A thousand sessions send requests to both instances in turn. Half-way one of the backends is killed: its sessions move
once and stay, even after its return, and no other session moves. Then forged cookies are sent, all of which name the
same backend as well as is possible without the secret: none may be accepted, or send a request there.

    python -m benchmarks.sessions [--sessions 1000] [--requests 20] [--forged 500]
"""

from __future__ import annotations

import asyncio
import random
import re
import string
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks import proxies
from benchmarks.harness import bench, free_ports, running
from devtools.load_client import Connection
from devtools.report import Check, conclude, options, say, table
from lbflask.core.sticky_cookie import Affinity

BACKENDS = 4
CONNECTIONS = 32
NAME = "LB"
#: Requests of each session after the return of the killed backend.
AFTERWARDS = 2


@dataclass
class Session:
    """The cookie of a client, and the backends that served it, in order."""

    cookie: str = ""
    served: list[int] = field(default_factory=list)
    cookies: int = 0  #: cookies that were set

    @property
    def moves(self) -> int:
        """The number of changes of the backend."""
        return sum(before != after for before, after in zip(self.served, self.served[1:], strict=False))


@dataclass
class Fates:
    """The results of the sessions, and of the forged cookies."""

    sessions: list[Session]
    killed: int  #: the backend, by its port
    failed: list[str] = field(default_factory=list)
    moved_before: int = 0  #: moves before the failure
    forged: list[Session] = field(default_factory=list)

    @property
    def displaced(self) -> list[Session]:
        """The sessions whose backend was killed."""
        return [session for session in self.sessions if session.served[0] == self.killed]


async def send(ports: Sequence[int], session: Session, connections: dict[int, Connection]) -> str:
    """Send one request of the session to the next instance. Returns the failure, empty if there is none."""
    port = ports[len(session.served) % len(ports)]
    cookie = f"Cookie: {NAME}={session.cookie}\r\n" if session.cookie else ""
    try:
        answer = await connections[port].send(f"GET / HTTP/1.1\r\nHost: bench\r\n{cookie}\r\n".encode("latin-1"))
    except (OSError, EOFError) as error:
        return repr(error)
    if answer.status != 200:
        return str(answer.status)
    session.served.append(int(answer.body.split()[-1]))
    found = re.match(rf"{NAME}=([^;]*)", answer.fields.get("set-cookie", ""))
    if found:
        session.cookie = found[1]
        session.cookies += 1
    return ""


async def drive(ports: Sequence[int], sessions: Sequence[Session], requests: int) -> list[str]:
    """Send so many requests of each session, one after another, many sessions at once. Returns the failures."""
    waiting, failures = iter(sessions), []

    async def client() -> None:
        connections = {port: Connection(port) for port in ports}
        for session in waiting:
            failures.extend([await send(ports, session, connections) for _ in range(requests)])
        for connection in connections.values():
            connection.close()

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return [failure for failure in failures if failure]


def forgeries(genuine: Sequence[str], dice: random.Random) -> Iterator[str]:
    """Cookies that are made of genuine ones of one backend without the secret."""

    def noise(length: int) -> str:
        return "".join(dice.choices(string.ascii_letters + string.digits + "-_", k=length))

    def elsewhere(pool: str) -> str:
        """Cookies of the right format, for the same backend, signed with another secret."""
        other = Affinity(pool, [noise(32)])
        return other.cookie(f"127.0.0.1:{dice.randrange(1, 65536)}", 1.8e9).split(".", 1)[1]

    kinds: list[Callable[[str, str, str], str]] = [
        lambda mark, moment, _: f"{mark}.{moment}.{noise(43)}",
        lambda mark, moment, signature: f"{mark}.{int(moment, 16) + dice.randrange(1, 99):x}.{signature}",
        lambda mark, moment, signature: f"{mark[:-1]}{'A' if mark[-1] != 'A' else 'B'}.{moment}.{signature}",
        lambda mark, moment, signature: f"{mark}.{moment}.{signature[1:]}{signature[0]}",
        lambda mark, moment, signature: f"{mark}.{moment}.{signature[: dice.randrange(43)]}",
        lambda mark, moment, signature: f"{mark}.{moment}.{signature}.{signature}",
        lambda mark, _, __: f"{mark}.{elsewhere('default')}",
        lambda mark, _, __: f"{mark}.{elsewhere('other')}",
        lambda mark, _, __: mark,
        lambda mark, moment, _: f"{mark}.{moment}.",
        lambda _, __, ___: noise(dice.randrange(1, 400)),
        lambda _, __, ___: "127.0.0.1:8081",
    ]
    while True:
        for kind in kinds:
            forged = kind(*dice.choice(genuine).split("."))
            if forged not in genuine:
                yield forged


def judge(fates: Fates) -> list[Check]:
    """The targets."""
    displaced = fates.displaced
    others = [session for session in fates.sessions if session.served[0] != fates.killed]
    target = Counter(session.served[0] for session in fates.forged)
    # Round robin is exact up to one turn of each worker of each instance.
    share = len(fates.forged) / BACKENDS + 4
    return [
        Check("failed requests", len(fates.failed), 0),
        Check("moves while all was well", fates.moved_before, 0),
        Check("moves of sessions whose backend lives", sum(session.moves for session in others), 0),
        Check("sessions of the killed backend", len(displaced), len(fates.sessions) // BACKENDS // 2, at_least=True),
        Check("of these moved other than once", sum(session.moves != 1 for session in displaced), 0),
        Check("cookies set other than at the first request and a move", odd(fates.sessions), 0),
        Check("forged cookies that were accepted", sum(not session.cookies for session in fates.forged), 0),
        Check("requests of forged cookies to the backend they name", target[fates.sessions[-1].served[-1]], share),
    ]


def odd(sessions: Sequence[Session]) -> int:
    """Sessions that got more or fewer cookies than new backends."""
    return sum(session.cookies != 1 + session.moves for session in sessions)


def play(stack: ExitStack, count: int, requests: int, forged: int) -> Fates:
    """Run all phases."""
    rig = stack.enter_context(bench())
    backends = free_ports(BACKENDS)
    commands = {port: [[sys.executable, "-m", "lbflask.demo.backend", str(port)]] for port in backends}
    victim, rest = backends[0], backends[1:]
    for port in rest:
        stack.enter_context(running(commands[port], port))
    settings = {"STICKY__COOKIE": NAME, "HEALTH__INTERVAL": "1", "EJECTION__DURATION": "1"}
    instances = [proxies.lbflask(backends, rig, **settings) for _ in range(2)]
    ports = [instance.port for instance in instances]
    fates = Fates([Session() for _ in range(count)], victim)
    with running(commands[victim], victim) as (doomed,):
        for instance in instances:
            stack.enter_context(instance.started())
        asyncio.run(settled(ports, backends))
        fates.failed += asyncio.run(drive(ports, fates.sessions, requests // 2))
        fates.moved_before = sum(session.moves for session in fates.sessions)
        say(f"{count} sessions begun; one backend of {BACKENDS} is killed")
        doomed.kill()
        fates.failed += asyncio.run(drive(ports, fates.sessions, requests - requests // 2))
    with running(commands[victim], victim):
        asyncio.run(settled(ports, backends))
        say("it has returned")
        fates.failed += asyncio.run(drive(ports, fates.sessions, AFTERWARDS))
        target = fates.sessions[-1].served[-1]
        genuine = [session.cookie for session in fates.sessions if session.served[-1] == target]
        made = forgeries(genuine, random.Random(5))
        fates.forged = [Session(cookie) for cookie, _ in zip(made, range(forged), strict=False)]
        fates.failed += asyncio.run(drive(ports, fates.forged, 1))
    return fates


async def settled(ports: Sequence[int], backends: Sequence[int]) -> None:
    """Wait until new sessions go to all backends, at each instance."""
    for port in ports:
        connections = {port: Connection(port)}
        async with asyncio.timeout(30):
            found: set[int] = set()
            while found < {*backends}:
                probes = [Session() for _ in range(2 * len(backends))]
                for probe in probes:
                    await send([port], probe, connections)
                found = {session.served[0] for session in probes if session.served}
                await asyncio.sleep(0.05)
        connections[port].close()


def show(fates: Fates) -> str:
    """Where the sessions were."""
    begun = Counter(session.served[0] for session in fates.sessions)
    ended = Counter(session.served[-1] for session in fates.sessions)
    forged = Counter(session.served[0] for session in fates.forged)
    rows = [[str(port), *(str(counts[port]) for counts in (begun, ended, forged))] for port in sorted(begun | ended)]
    return table(["backend", "sessions begun", "at the end", "forged cookies"], rows)


def main() -> None:
    parser = options(__doc__, "sessions")
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=20, help="of each session")
    parser.add_argument("--forged", type=int, default=500)
    given = parser.parse_args()
    size = (100, 6, 100) if given.quick else (given.sessions, given.requests, given.forged)
    with ExitStack() as stack:
        fates = play(stack, *size)
    for failure, times in Counter(fates.failed).most_common(5):
        say(f"{times} x {failure}")
    print(show(fates), end="\n\n")
    conclude(given, judge(fates), {"sessions": len(fates.sessions), "failures": Counter(fates.failed)})


if __name__ == "__main__":
    main()
