"""A backend with max_connections = 10 under 200 connections, over four workers (two gunicorns of two) and one store.

The backend counts its concurrent requests. All others wait, or get a 503 in time. A worker is killed meanwhile: no slot
leaks, and the throughput recovers.

    python -m benchmarks.full_backend [--connections 200] [--seconds 5] [--json FILE]
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import redis

from benchmarks.harness import WORKERS, Bench, bench, free_ports, running, serving
from devtools.environment import HOST
from devtools.report import Check, conclude, options, percentile, ratio, say, table
from lbflask.store.keys import PoolKeys
from lbflask.store.ports import DEAD_AFTER

INSTANCES = 2
MOST = 10
SERVICE = 0.02
QUEUE = 150
TIMEOUT = 1.0
#: Seconds that a client waits after a 503.
PAUSE = 0.05
#: Requests on one connection. The next connection may reach any of the workers.
ON_ONE_CONNECTION = 20
#: Seconds by which a 503 may be late: the load and the servers share the machine.
LATE = 0.5


@dataclass
class Responses:
    """The responses: time on the steady clock, duration, and status; 0 for a connection that broke."""

    answers: list[tuple[float, float, int]] = field(default_factory=list)

    def between(self, begin: float, end: float) -> list[tuple[float, float, int]]:
        return [answer for answer in self.answers if begin <= answer[0] < end]


async def client(port: int, responses: Responses, until: float) -> None:
    """Send requests, over one connection after another."""
    while time.monotonic() < until:
        try:
            reader, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(PAUSE)
            continue
        try:
            for _ in range(ON_ONE_CONNECTION):
                if time.monotonic() >= until:
                    break
                began = time.monotonic()
                writer.write(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
                status = 0
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = next(
                        int(line.split(b":")[1])
                        for line in head.lower().split(b"\r\n")
                        if line.startswith(b"content-length")
                    )
                    await reader.readexactly(length)
                    status = int(head[9:12])
                finally:
                    now = time.monotonic()
                    responses.answers.append((now, now - began, status))
                if status != 200:
                    await asyncio.sleep(PAUSE)
        except (OSError, EOFError):
            continue
        finally:
            writer.close()


async def load(ports: Sequence[int], connections: int, responses: Responses, until: float) -> None:
    await asyncio.gather(*[client(ports[number % len(ports)], responses, until) for number in range(connections)])


def seen(port: int, what: str = "seen") -> dict[str, int]:
    with urllib.request.urlopen(f"http://{HOST}:{port}/-/{what}", timeout=5) as answer:
        found: dict[str, int] = json.loads(answer.read())
        return found


def settings(place: Bench, backend: int, port: int) -> dict[str, str]:
    """The environment of a gunicorn on this port."""
    file = place.work / "lbflask.toml"
    file.write_text(
        f'backends = [{{ url = "http://{HOST}:{backend}", max_connections = {MOST} }}]\n'
        f"[queue]\nlength = {QUEUE}\ntimeout = {TIMEOUT}\n"
    )
    return {
        "LBFLASK_CONFIG": str(file),
        "LBFLASK_REDIS_URL": place.redis_url,
        "LBFLASK_BIND": f"{HOST}:{port}",
        "LBFLASK_ADMIN_BIND": "",
        "LBFLASK_ACCESS_LOG": "",
        "WEB_CONCURRENCY": str(WORKERS),
    }


async def play(ports: Sequence[int], victim: int, connections: int, seconds: float) -> tuple[Responses, list[float]]:
    """Load for four periods of so many seconds; a worker is killed after the second. Returns responses and ends."""
    responses, began = Responses(), time.monotonic()
    ends = [began + seconds * number for number in range(5)]
    loading = asyncio.ensure_future(load(ports, connections, responses, ends[-1]))
    await asyncio.sleep(ends[2] - time.monotonic())
    say(f"worker {victim} is killed")
    os.kill(victim, signal.SIGKILL)
    await loading
    return responses, ends


def leaked(client: Any) -> tuple[int, float]:
    """Workers that hold or await slots after the end, and the seconds until there were none."""
    began = time.monotonic()
    while time.monotonic() - began < 2 * DEAD_AFTER:
        if not client.hlen(PoolKeys("lbflask", "default").slots):
            return 0, time.monotonic() - began
        time.sleep(0.02)
    return client.hlen(PoolKeys("lbflask", "default").slots), time.monotonic() - began


def rows(responses: Responses, ends: Sequence[float]) -> list[list[str]]:
    names = ["warming up", "before", "a worker is killed", "after"]
    found = []
    for name, begin, end in zip(names, ends, ends[1:], strict=False):
        answers = responses.between(begin, end)
        count = Counter(status for _, _, status in answers)
        waits = [took for _, took, status in answers if status == 200]
        found.append(
            [
                name,
                f"{count[200] / (end - begin):,.0f}",
                f"{percentile(waits, 50) * 1000:.0f}, {percentile(waits, 99) * 1000:.0f}",
                f"{count[503]:,}",
                f"{max([took for _, took, status in answers if status == 503], default=0.0) * 1000:.0f}",
                str(count[0]),
                str(len(answers) - count[200] - count[503] - count[0]),
            ]
        )
    return found


def main() -> None:
    parser = options(__doc__, "full_backend")
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each of the four phases")
    given = parser.parse_args()
    seconds = 1.5 if given.quick else given.seconds
    with bench() as place, ExitStack() as stack:
        backend, *ports = free_ports(1 + INSTANCES)
        counting = [sys.executable, "-m", "benchmarks.backends.counting", str(backend), str(SERVICE)]
        stack.enter_context(running([counting], backend))
        gunicorn = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "lbflask.wsgi"]
        instances = [
            stack.enter_context(running([gunicorn], port, settings(place, backend, port)))[0] for port in ports
        ]
        victim = serving(instances[0].pid)[0]
        responses, ends = asyncio.run(play(ports, victim, given.connections, seconds))
        with redis.Redis.from_url(place.redis_url) as store:
            holders, after = leaked(store)
        found = seen(backend)
    head = ["", "answers/s", "p50, p99 ms", "503", "slowest 503 ms", "broken", "other"]
    print(table(head, rows(responses, ends)), end="\n\n")
    before, afterwards = (
        sum(status == 200 for _, _, status in responses.between(begin, end)) / (end - begin)
        for begin, end in ((ends[1], ends[2]), (ends[3], ends[4]))
    )
    late = max([took for _, took, status in responses.between(ends[1], ends[4]) if status == 503], default=0.0)
    broken = sum(status == 0 for _, _, status in responses.answers)
    other = sum(status not in (0, 200, 503) for _, _, status in responses.answers)
    checks = [
        Check("requests at the backend at once", found["most"], MOST),
        Check("of what ten slots can serve, before", ratio(before, MOST / SERVICE), 0.7, at_least=True),
        Check("throughput after the kill, of that before", ratio(afterwards, before), 0.9, at_least=True),
        Check("slowest 503 after the warming up", late, TIMEOUT + LATE, "s"),
        Check("connections that broke, all of the killed worker's", broken, given.connections),
        Check("answers other than 200 and 503", other, 0),
        Check("workers that hold slots when all is over", holders, 0),
    ]
    conclude(given, checks, {"seconds_until_nothing_is_held": after, "seen": found})


if __name__ == "__main__":
    main()
