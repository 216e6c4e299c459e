"""Where the time of a request goes: the steps of the hot path, each timed alone, in microseconds of one process.

The client and the backend are canned bytes, so neither the kernel nor the waiting counts; what is left is our own work
for a small GET over a kept connection. The best of many short runs is told: what the step costs when nothing disturbs
it and all of it is in the processor's caches. "all of it" is what the steps cost together, one after another. A second
table has the same with settings that add to it, in turns with the default, so that they can be compared.

    python -m benchmarks.hot_path [--fields 10] [--json FILE]
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gunicorn.config import Config as GunicornConfig

from devtools.report import conclude, options, table
from lbflask.config.load import load
from lbflask.core.http.fields import backend_request
from lbflask.core.http.response_head import plain_head
from lbflask.core.http.trusted_proxies import TrustedProxies
from lbflask.core.model import ActiveHealth, Health, Snapshot
from lbflask.core.sticky_cookie import Affinity
from lbflask.proxy import client_request
from lbflask.server import gunicorn_hooks
from lbflask.server.worker.client_connection import ClientConnection, ClientTimeouts
from lbflask.server.worker.http_exchange import HttpExchange
from lbflask.server.worker.proxy_worker import ProxyWorker, WorkerOptions
from lbflask.server.worker.request_parser import ParsedRequest
from lbflask.server.worker.response_writer import ResponseWriter
from lbflask.server.worker.settings import freeze
from lbflask.telemetry.event_queue import BATCH, TimedEvent
from lbflask.telemetry.events import AttemptEvent, RequestEvent
from lbflask.telemetry.log_formats import text_line
from lbflask.telemetry.metrics.recorder import MetricsRecorder
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.requests_adapter import BackendRequest
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

    def recv(self, *_: int) -> bytes:
        return next(self._said)

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


def micros(step: Callable[[], Any], rounds: int, repeat: int = 1000) -> float:
    """The best of so many rounds of `repeat` calls each."""
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(repeat):
            step()
        best = min(best, (time.perf_counter() - began) / repeat)
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
        self.balancer._dialer.open = lambda *args: UpstreamConnection(Canned(RESPONSE), args[-1])
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
        self.worker: Any = SimpleNamespace(alive=True, _frozen=self.frozen)
        self.worker.options = WorkerOptions(forward=self.plane.forward)
        self.worker._call_application = lambda *args: ProxyWorker._call_application(self.worker, *args)

    def read(self) -> ParsedRequest:
        self.client.await_request(75)
        request = ParsedRequest(self.frozen, self.client.reader, self.client.addr, 2)
        self.client.begin_request(request.proxy_protocol_info)
        return request

    def count(self, portion: list[TimedEvent]) -> Callable[[], None]:
        counting = MetricsRecorder()
        counting.start(Path(tempfile.mkdtemp(prefix="lbflask-bench-")))
        return lambda: counting.consume(portion)

    def serve(self) -> bool:
        return ProxyWorker._respond(self.worker, self.client, self.read())


def steps(rig: Rig) -> dict[str, Callable[[], Any]]:
    """What there is to time, in the order in which a request meets it."""
    request = rig.read()
    exchange = HttpExchange(request, rig.client)
    taken = client_request.from_exchange(exchange, 0)
    dispatcher = rig.plane.front.handler
    hop, trust = dispatcher.services.hops.hop(taken), TrustedProxies()
    head = backend_request(taken.fields, hop, host=taken.host, request_id="id", is_trusted=trust)
    backend = dispatcher.balancer.pool.backends[0]
    outgoing = BackendRequest("GET", "/", head.fields).to(backend, "shop.example")
    connection = UpstreamConnection(Canned(RESPONSE), 0.0)
    pool, timing = rig.balancer._connections, ExchangeTimeouts()
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
    reply = SimpleNamespace(fields=[("Server", "x"), ("Date", "y"), ("Content-Type", "z"), ("Content-Length", "16")])

    def take_and_give_back() -> None:
        pool.give_back(outgoing.url, pool.take(outgoing.url, False) or pool.open(outgoing.address, 1.0))

    def respond() -> None:
        response = ResponseWriter(rig.client.send, request, exchange)
        response.start_response("200 OK", reply.fields)
        response.write_all([b"hello from 8081\n"])

    return {
        "read and parse the request": rig.read,
        "target, host, framing, body": lambda: client_request.from_exchange(exchange, 0),
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


def compared(rigs: dict[str, Rig], rounds: int) -> list[tuple[str, float]]:
    """What all of a request costs with each of the rigs, in turns."""
    best = dict.fromkeys(rigs, float("inf"))
    for _ in range(5 * rounds):
        for name, rig in rigs.items():
            best[name] = min(best[name], micros(rig.serve, 1, 200))
    return list(best.items())


def main() -> None:
    parser = options(__doc__, "hot_path")
    parser.add_argument("--fields", type=int, default=0, help="fields of the request beside Host, 9 at most")
    given = parser.parse_args()
    rounds = 10 if given.quick else 50
    found = {name: micros(step, rounds) for name, step in steps(Rig(given.fields)).items()}
    found["count it (of a portion)"] /= BATCH
    print(table(["step", "µs"], [[name, f"{cost:.1f}"] for name, cost in found.items()]), end="\n\n")
    variants = compared({"nothing more": Rig(given.fields), **features(given.fields)}, rounds)
    default = variants[0][1]
    rows = [[name, f"{cost:.1f}", f"{cost - default:+.1f}"] for name, cost in variants]
    print(table(["all of it, with", "µs", "more"], rows), end="\n\n")
    conclude(given, [], found | {f"all of it, with {name}": cost for name, cost in variants})


if __name__ == "__main__":
    main()
