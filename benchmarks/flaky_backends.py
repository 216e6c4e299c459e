"""Backends that close keep-alive connections at random: no GET may fail, and no POST may be delivered twice.

GETs and POSTs, nine to one, each with a unique id that the backend records when it begins to serve the request, and
returns in its response. A POST that may have been served cannot be retried (RFC 9110 section 9.2.2), so some fail;
their number is reported, and is not a miss.

    python -m benchmarks.flaky_backends [--requests 100000] [--connections 64] [--chance 1] [--through lbflask]
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field

from benchmarks import proxies
from benchmarks.backends.flaky import ENDS
from benchmarks.harness import bench, free_ports, running
from devtools.load_client import Connection
from devtools.report import Check, conclude, options, say, table

BACKENDS = 3
SEED = 20


@dataclass
class Outcome:
    """The results of clients: responses by method, and failures by method and kind."""

    answered: dict[str, int] = field(default_factory=lambda: {"GET": 0, "POST": 0})
    failed: dict[str, dict[str, int]] = field(default_factory=lambda: {"GET": {}, "POST": {}})
    wrong: int = 0  #: responses to another request
    seconds: float = 0.0

    def failures(self, method: str) -> int:
        """Of all kinds."""
        return sum(self.failed[method].values())


@dataclass
class Journals:
    """The records of the backends."""

    begun: dict[str, int]  #: by method
    twice: dict[str, int]  #: requests begun more than once, by method
    ends: dict[str, int]  #: connections ended, by how

    @classmethod
    def read(cls, lines: Iterable[str]) -> Journals:
        """The records of all backends."""
        counts = Counter(line.strip() for line in lines)
        begun, twice, ends = Counter[str](), Counter[str](), Counter[str]()
        for line, count in counts.items():
            method, _, name = line.partition(" ")
            if method == "!":
                ends[name] += count
            else:
                begun[method] += count
                twice[method] += count > 1
        return cls(dict(begun), dict(twice), dict(ends))


def method_of(number: int) -> str:
    """Every tenth request is a POST."""
    return "GET" if number % 10 else "POST"


def request(number: int) -> bytes:
    """A request with a unique id."""
    if method_of(number) == "GET":
        return b"GET /get/%d HTTP/1.1\r\nHost: bench\r\n\r\n" % number
    body = b"%d" % number * 16
    return b"POST /post/%d HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%b" % (number, len(body), body)


async def send(port: int, numbers: Iterator[int], outcome: Outcome) -> None:
    """The requests of one connection, one after another."""
    connection = Connection(port)
    for number in numbers:
        method = method_of(number)
        try:
            answer = await connection.send(request(number))
        except (OSError, EOFError) as error:
            kind = type(error).__name__
        else:
            if answer.status == 200:
                outcome.answered[method] += 1
                outcome.wrong += answer.body != b"%d" % number
                continue
            kind = str(answer.status)
        outcome.failed[method][kind] = outcome.failed[method].get(kind, 0) + 1
    connection.close()


async def drive(port: int, count: int, connections: int) -> Outcome:
    """Send all requests, over so many connections."""
    outcome = Outcome()
    numbers = iter(range(count))
    began = time.monotonic()
    await asyncio.gather(*(send(port, numbers, outcome) for _ in range(connections)))
    outcome.seconds = time.monotonic() - began
    return outcome


def show(outcome: Outcome, journals: Journals) -> str:
    rows = []
    for method in outcome.answered:
        kinds = ", ".join(f"{kind}: {count}" for kind, count in sorted(outcome.failed[method].items()))
        begun, twice = journals.begun.get(method, 0), journals.twice.get(method, 0)
        rows.append([method, f"{outcome.answered[method]:,}", kinds or "0", f"{begun:,}", f"{twice:,}"])
    return table(["", "answered", "failed", "begun by backends", "begun twice"], rows)


def judge(outcome: Outcome, journals: Journals) -> list[Check]:
    return [
        Check("failed GETs", outcome.failures("GET"), 0),
        Check("POSTs delivered twice", journals.twice.get("POST", 0), 0),
        Check("answers to another request", outcome.wrong, 0),
        Check("kinds of ends that backends made", len(journals.ends), len(ENDS), at_least=True),
    ]


def main() -> None:
    parser = options(__doc__, "flaky_backends")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--chance", type=float, default=1.0, help="percent of requests after which a connection ends")
    parser.add_argument("--through", choices=proxies.NAMES, default="lbflask")
    given = parser.parse_args()
    count = 5_000 if given.quick else given.requests
    with ExitStack() as stack:
        rig = stack.enter_context(bench())
        backends = free_ports(BACKENDS)
        journals = [rig.work / f"flaky-{port}.log" for port in backends]
        for number, (port, path) in enumerate(zip(backends, journals, strict=True)):
            module = [sys.executable, "-m", "benchmarks.backends.flaky"]
            command = [*module, str(port), str(path), str(given.chance), str(SEED + number)]
            stack.enter_context(running([command], port))
        proxy = proxies.one_of(given.through, backends, rig)
        stack.enter_context(proxy.started())
        outcome = asyncio.run(drive(proxy.port, count, given.connections))
        noted = Journals.read(line for path in journals for line in path.read_text().splitlines())
    say(f"{count / outcome.seconds:,.0f} requests/s; connections ended: {noted.ends}")
    print(show(outcome, noted), end="\n\n")
    numbers = {"through": proxy.name, "requests": count, "outcome": asdict(outcome), "journals": asdict(noted)}
    conclude(given, judge(outcome, noted), numbers)


if __name__ == "__main__":
    main()
