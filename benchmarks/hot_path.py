"""Where the time of a request goes: the steps of the hot path, each timed alone, in microseconds of processor time.

The client and the backend are canned bytes, so neither the kernel nor the waiting counts; what is left is our own work
for a small GET over a kept connection. The best of many short runs is told: what the step costs when nothing disturbs
it and all of it is in the processor's caches. "all of it" is what the steps cost together, one after another. A second
table has the same with settings that add to it, in turns with the default, so that they can be compared. Where
`make compiled` was run, both builds of the package are measured, in turns, each in processes of its own.

    python -m benchmarks.hot_path [--fields 9] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import cycle
from pathlib import Path
from typing import Any

from gunicorn.config import Config as GunicornConfig

from devtools.builds import python_commands
from devtools.report import Check, conclude, options, ratio, table
from lbflask.build import Build
from lbflask.config.load import load
from lbflask.core.http.fields import backend_request
from lbflask.core.http.response_head import plain_head
from lbflask.core.http.trusted_proxies import TrustedProxies
from lbflask.core.model import ActiveHealth, Address, Health, Snapshot
from lbflask.core.sticky_cookie import Affinity
from lbflask.proxy import client_request
from lbflask.server import gunicorn_hooks
from lbflask.server.worker.client_connection import ClientConnection, ClientTimeouts
from lbflask.server.worker.http_exchange import HttpExchange
from lbflask.server.worker.received_head import ReceivedHead
from lbflask.server.worker.request_reader import read_request
from lbflask.server.worker.responder import Responder
from lbflask.server.worker.response_writer import ResponseWriter
from lbflask.server.worker.settings import freeze
from lbflask.telemetry.event_queue import BATCH, TimedEvent
from lbflask.telemetry.events import AttemptEvent, RequestEvent
from lbflask.telemetry.log_formats import text_line
from lbflask.telemetry.metrics.recorder import MetricsRecorder
from lbflask.upstream.backend_request import BackendRequest
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.stream import ExchangeTimeouts
from lbflask.wiring.worker_runtime import WorkerRuntime

BACKENDS = [f"http://127.0.0.1:{port}" for port in (8081, 8082, 8083)]
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Tue, 24 Nov 2026 13:15:21 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 16\r\nConnection: keep-alive\r\n\r\nhello from 8081\n"
)
FIELDS = [
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
    b"Accept: text/html,application/xhtml+xml",
    b"Accept-Encoding: gzip, br",
    b"Accept-Language: en",
    b"Cookie: session=0123456789abcdef",
    b"Cache-Control: no-cache",
    b"Connection: keep-alive",
    b"Referer: http://shop.example/basket",
    b"Sec-Fetch-Mode: navigate",
]
#: Microseconds by name, for the steps and for the variants of all of it.
Cost = dict[str, dict[str, float]]
PLAIN, NINE = "nothing more", "nine more fields"
#: A piece of work of the standard library, to compare machines by.
MACHINE = "for comparison: 64 small objects of JSON parsed"
#: At most so many microseconds, compiled.
TARGETS = {PLAIN: 12.0, NINE: 18.0}

in_turn = lru_cache(cycle)


class Canned:
    """A stream whose peer says the same things whenever it is asked, in turn, and takes all that it is told.

    Many of them hold little more than one, so that it is not them who fill the processor's caches.
    """

    __slots__ = ("_said",)
    gone = False

    def __init__(self, *said: bytes) -> None:
        self._said = in_turn(said)

    @property
    def sock(self) -> Canned:
        return self

    def recv(self, _: int, flags: int = 0) -> bytes:
        if flags:  # for what has arrived, of a connection that was idle for long
            raise BlockingIOError
        return next(self._said)

    def setblocking(self, _: bool) -> None:
        pass

    def send(self, data: bytes) -> int:
        return len(data)

    def silent(self) -> bool:
        return True

    def set_on_gone(self, callback: Callable[[], None] | None) -> None:
        pass

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 8080)

    def setsockopt(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass


class CannedDialer:
    """Opens connections to the canned backend."""

    def open(self, _address: Address, _timeout: float, now: float, _opening: bytes) -> UpstreamConnection:
        return UpstreamConnection(Canned(RESPONSE), now)


def micros(step: Callable[[], Any], rounds: int, repeat: int = 1000) -> float:
    """The best of so many rounds of `repeat` calls each."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(repeat):
            step()
        best = min(best, (time.process_time() - began) / repeat)
    return best * 1e6


class Rig:
    """A worker's parts, joined as in a worker, but for the network."""

    def __init__(
        self,
        fields: int = 0,
        *more: bytes,
        backends: Sequence[str] = BACKENDS,
        paths: int = 1,
        file: str = os.devnull,
        **settings: str,
    ) -> None:
        """For requests with so many fields, with more, and so many paths, of the configuration in `file`; settings are
        LBFLASK_… without the prefix.
        """
        environ = {"LBFLASK_CONFIG": file, "LBFLASK_BACKENDS": ",".join(backends)}
        environ |= {"LBFLASK_ACCESS_LOG": "", "LBFLASK_METRICS": "false"}
        environ |= {f"LBFLASK_{key.upper()}": value for key, value in settings.items()}
        config = load(environ | {"LBFLASK_REDIS_URL": "redis://127.0.0.1:1/0"})
        self.balancer = WorkerRuntime(config)
        self.plane = self.balancer.app.extensions["lbflask"]
        self.fleet = self.balancer._fleet
        up = {url.removeprefix("http://"): ActiveHealth(Health.UP) for url in backends}
        self.fleet.pools["default"].set_snapshot(Snapshot(1, up, 0.0, 10.0))
        self.fleet.degrade("benchmark")  # tickets without a store
        self.connections = self.balancer._connections.of_pool("default")
        self.connections._dialer = CannedDialer()
        gunicorn = GunicornConfig()
        for name, value in gunicorn_hooks._settings_of(config).items():
            gunicorn.set(name, value)
        self.frozen = freeze(gunicorn)
        rest = b"\r\n".join([b" HTTP/1.1", b"Host: shop.example", *FIELDS[:fields], *more]) + b"\r\n\r\n"
        self.client = ClientConnection(
            Canned(*(b"GET /path?query=%d" % (number + 1) + rest for number in range(paths))),
            ("127.0.0.1", 5555),
            ClientTimeouts(),
        )
        self.responder = Responder(lambda *_: (), {}, logging.getLogger("lbflask"))

    def read(self) -> ReceivedHead:
        self.client.await_request(75)
        request = read_request(self.frozen, self.client)
        self.client.begin_request(request.proxy_info)
        return request

    def count(self, portion: list[TimedEvent]) -> Callable[[], None]:
        counting = MetricsRecorder()
        counting.start(Path(tempfile.mkdtemp(prefix="lbflask-bench-")))
        return lambda: counting.consume(portion)

    def serve(self) -> bool:
        return self.responder.respond(self.client, self.read(), self.plane.forward, closes=False)


def steps(rig: Rig) -> dict[str, Callable[[], Any]]:
    """What there is to time, in the order in which a request meets it."""
    request = rig.read()
    exchange = HttpExchange(request, rig.client)
    taken = client_request.from_exchange(exchange)
    dispatcher = rig.plane.front.handler
    hop, trust = dispatcher.services.hops.hop(taken), TrustedProxies()
    head = backend_request(taken.fields, hop, host=taken.host, request_id="id", is_trusted=trust)
    backend = dispatcher.balancer.pool.backends[0]
    outgoing = BackendRequest("GET", "/", head.fields).to(backend, "shop.example")
    connection = UpstreamConnection(Canned(RESPONSE), 0.0)
    pool, timing = rig.connections, ExchangeTimeouts()
    event = RequestEvent(
        client="127.0.0.1",
        method="GET",
        target="/",
        protocol="HTTP/1.1",
        pool="default",
        status=200,
        sent=16,
        seconds=0.001,
        attempts=[AttemptEvent(backend="127.0.0.1:8081", seconds=0.001)],
        request_id="id",
    )
    lines = plain_head("GET", RESPONSE)[2]  # type: ignore[index] - it is plain

    def take_and_give_back() -> None:
        pool.give_back(outgoing.url, pool.take(outgoing.url, False) or pool.open(outgoing.address, 1.0))

    def respond() -> None:
        response = ResponseWriter(rig.client.send, request, exchange)
        response.start_plain("200 OK", lines)
        response.write_all([b"hello from 8081\n"])

    return {
        "read and parse the request": rig.read,
        "target, host, framing, body": lambda: client_request.from_exchange(exchange),
        "fields for the backend": lambda: backend_request(
            taken.fields, hop, host=taken.host, request_id="id", is_trusted=trust
        ),
        "ticket": rig.fleet.pools["default"].tickets.next,
        "order of the backends": lambda: next(dispatcher.balancer.schedule().order(5)),
        "take a connection, give it back": take_and_give_back,
        "write the request": outgoing.head,
        "read the response's head": lambda: plain_head("GET", RESPONSE),
        "one exchange (the two above, and time-outs)": lambda: connection.exchange(outgoing, timing),
        "dispatch in all": lambda: dispatcher.dispatch(taken).close(),
        "write the response": respond,
        "put it into the access log": lambda: text_line(event, 1.0),
        "count it (of a portion)": rig.count([(event, 1.0)] * BATCH),
        "all of it, but log and metrics": rig.serve,
    }


def routes(count: int) -> str:
    """As many routes by host and path, the last of which is that of the request."""
    match = [f'host = "h{number % 10}.example", path = "/p{number}/x"' for number in range(count - 1)]
    match.append('host = "*.example", path = "/path"')
    return "".join(
        f'[[routes]]\nname = "r{number}"\npool = "default"\nmatch = {{ {text} }}\n' for number, text in enumerate(match)
    )


#: Routes that add to a request, each as a file over the default.
ROUTES = {
    "10 routes": routes(10),
    "1,000 routes": routes(1000),
    "a route that sets, adds and removes fields, both ways": """
[[routes]]
name = "edits"
pool = "default"
request_headers = { set = { X-A = "1" }, add = { X-B = "2" }, remove = "Referer" }
response_headers = { set = { Server = "lb" }, add = { X-B = "2" }, remove = "X-Powered-By" }
""",
    "a route that strips its prefix": """
[[routes]]
name = "strip"
pool = "default"
match = { path = "/path" }
strip_prefix = true
""",
    "a route with a fixed answer": """
[[routes]]
name = "fixed"
respond = { status = 503, body = "closed" }
""",
}


def features(fields: int) -> dict[str, Rig]:
    """What is not on by default."""
    name, secret = "LB", "0123456789abcdef"
    sticky = Affinity("default", [secret])
    cookie = f"Cookie: {name}={sticky.cookie(BACKENDS[0].removeprefix('http://'), time.time())}".encode()
    rigs = {
        "a cookie that is not ours": Rig(fields, cookie),
        "a sticky session": Rig(fields, cookie, sticky__cookie=name, sticky__secrets=secret),
        "the beginning of one": Rig(fields, sticky__cookie=name, sticky__secrets=secret),
    }
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "lbflask.toml"
        for told, text in ROUTES.items():
            path.write_text(text)
            rigs[told] = Rig(fields, file=str(path))
    return rigs


def compared(rigs: dict[str, Rig], rounds: int) -> dict[str, float]:
    """What all of a request costs with each of the rigs, in turns."""
    best = dict.fromkeys(rigs, float("inf"))
    for _ in range(5 * rounds):
        for name, rig in rigs.items():
            best[name] = min(best[name], micros(rig.serve, 1, 200))
    return best


def measured(fields: int, rounds: int) -> Cost:
    """What each step, and all of it in each variant, costs with the build of this process."""
    found = {name: micros(step, rounds) for name, step in steps(Rig(fields)).items()}
    found["count it (of a portion)"] /= BATCH
    document = json.dumps([{"number": number} for number in range(64)])
    found[MACHINE] = micros(lambda: json.loads(document), rounds)
    variants = {PLAIN: Rig(fields), **({} if fields else {NINE: Rig(len(FIELDS))}), **features(fields)}
    return {"steps": found, "variants": compared(variants, rounds)}


def measured_apart(python: list[str], given: argparse.Namespace) -> Cost:
    """The same, by another process of this module."""
    command = [*python, "-m", "benchmarks.hot_path", "--one", "--fields", str(given.fields)]
    command += ["--quick"] if given.quick else []
    found: Cost = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def best(costs: Sequence[Cost]) -> Cost:
    """The lowest figure of all turns, for each line of each table."""
    return {part: {name: min(cost[part][name] for cost in costs) for name in costs[0][part]} for part in costs[0]}


def report(found: dict[Build, Cost], part: str, head: str) -> str:
    """A part of the figures as a table: a column for each build, and how much of the first the last one needs."""
    builds = list(found)
    rows = []
    for name, first in found[builds[0]][part].items():
        costs = [found[build][part][name] for build in builds]
        rows.append([name, *(f"{cost:.1f}" for cost in costs), f"{ratio(costs[-1], first):.2f}"])
    return table([head, *(f"µs, {build.value}" for build in builds), "ratio"], rows)


def checks(found: dict[Build, Cost]) -> list[Check]:
    """The targets, which are for the compiled build."""
    variants = found.get(Build.COMPILED, {}).get("variants", {})
    return [
        Check(f"compiled, {name}", variants[name], most, "µs") for name, most in TARGETS.items() if name in variants
    ]


def main() -> None:
    parser = options(__doc__, "hot_path")
    parser.add_argument("--fields", type=int, default=0, help="fields of the request beside Host, 9 at most")
    parser.add_argument("--turns", type=int, default=3, help="processes for each build")
    parser.add_argument("--one", action="store_true", help="measure in this process, and write only its figures")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(given.fields, 10 if given.quick else 50)))
        return
    commands = python_commands()
    costs: dict[Build, list[Cost]] = {build: [] for build in commands}
    for _ in range(given.turns):
        for build, python in commands.items():
            costs[build].append(measured_apart(python, given))
    found = {build: best(each) for build, each in costs.items()}
    print(report(found, "steps", "step"), end="\n\n")
    print(report(found, "variants", "all of it, with"), end="\n\n")
    conclude(given, [] if given.fields else checks(found), {build.value: cost for build, cost in found.items()})


if __name__ == "__main__":
    main()
