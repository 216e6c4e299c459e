"""Backends that close idle connections after two seconds, as gunicorn does: no request may fail, of any method.

There are so many backends that a connection is idle for about as long as they wait. A request that meets the close of
its connection has to be sent again, which a proxy may not do with a POST (RFC 9110 section 9.2.2). The backends respond
with the port of their peer, which shows how many requests have used a connection again.

    python -m benchmarks.idle_reuse [--clients 200] [--seconds 40] [--through lbflask]
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks import proxies
from benchmarks.harness import WORKERS, Command, bench, free_ports, running
from devtools.environment import HOST
from devtools.load_client import Connection
from devtools.report import Check, conclude, options, ratio, table

#: Seconds for which the backends keep an idle connection, and the mean pause of a client.
KEEPALIVE = 2
PAUSE = 1.8
SEED = 18
REQUESTS = {
    "GET": b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n",
    "POST": b"POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: 5\r\n\r\nhello",
}


@dataclass
class Outcome:
    """The results of the requests of one method."""

    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    reused: int = 0  #: responses over a connection that had carried a request before


def app(environ: dict[str, str], start_response: object) -> list[bytes]:
    """The application of the backends: the port of the peer."""
    start_response("200 OK", [("Content-Length", str(len(environ["REMOTE_PORT"])))])  # type: ignore[operator]
    return [environ["REMOTE_PORT"].encode()]


def server(ports: Sequence[int]) -> Command:
    """A gunicorn on these ports."""
    settings = ["--keep-alive", str(KEEPALIVE), "--threads", "32", "-k", "gthread"]
    settings += [argument for port in ports for argument in ("-b", f"{HOST}:{port}")]
    plain = "python:benchmarks.competitors"  # without it gunicorn takes ./gunicorn.conf.py
    return [sys.executable, "-m", "gunicorn", "-c", plain, *settings, "benchmarks.idle_reuse:app"]


async def drive(port: int, clients: int, seconds: float) -> dict[str, Outcome]:
    """Send requests from so many clients for so long."""
    outcomes = {method: Outcome() for method in REQUESTS}
    seen: set[bytes] = set()
    chance = random.Random(SEED)
    until = asyncio.get_running_loop().time() + seconds

    async def client() -> None:
        connection = Connection(port)
        await asyncio.sleep(chance.uniform(0, PAUSE))
        while asyncio.get_running_loop().time() < until:
            method = chance.choice(list(REQUESTS))
            outcome = outcomes[method]
            try:
                answer = await connection.send(REQUESTS[method])
            except (OSError, EOFError) as error:
                outcome.failed[type(error).__name__] += 1
            else:
                if answer.status == 200:
                    outcome.answered += 1
                    outcome.reused += answer.body in seen
                    seen.add(answer.body)
                else:
                    outcome.failed[str(answer.status)] += 1
            await asyncio.sleep(chance.uniform(0, 2 * PAUSE))
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return outcomes


def main() -> None:
    parser = options(__doc__, "idle_reuse")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--through", choices=proxies.NAMES, default="lbflask")
    given = parser.parse_args()
    with ExitStack() as stack:
        rig = stack.enter_context(bench())
        backends = free_ports(given.clients // WORKERS)  # each client has one connection of a worker on average
        stack.enter_context(running([server(backends)], backends[0]))
        proxy = proxies.one_of(given.through, backends, rig)
        stack.enter_context(proxy.started())
        outcomes = asyncio.run(drive(proxy.port, given.clients, 5.0 if given.quick else given.seconds))
    shares = {method: ratio(one.reused, one.answered) for method, one in outcomes.items()}
    rows = [
        [method, f"{one.answered:,}", str(one.failed.total()), ", ".join(sorted(one.failed)), f"{shares[method]:.2f}"]
        for method, one in outcomes.items()
    ]
    print(table(["", "answered", "failed", "how", "over a kept connection"], rows), end="\n\n")
    checks = [Check(f"failed {method}s", one.failed.total(), 0) for method, one in outcomes.items()]
    conclude(given, checks, {"through": proxy.name, "reused": shares})


if __name__ == "__main__":
    main()
