"""Load on threads with keep-alive connections, which records each response and each failure."""

from __future__ import annotations

import http.client
import itertools
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from devtools.wait import PATIENCE

_BODY = re.compile(rb"hello from backend (\d+)\n")
_LINE = re.compile(
    r'^(?P<moment>\S+Z) \S+ "\S+ (?P<target>\S+) \S+" (?P<status>\d+) \d+ backend=(?P<backend>\S+) '
    r"upstream=\S+ total=(?P<total>[\d.]+)ms attempts=\d+ id=\S+"
    r"(?: tried=(?P<tried>\S+))?",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request: its start (monotonic clock), and the port of the backend that served it, or the failure."""

    began: float
    port: int
    failure: str


class Traffic:
    """`clients` connections spread over `ports`, each of which requests `/` continuously.

    `rate` bounds the requests a second of all together; `total` ends them after so many. With `keep_alive` off each
    request uses a new connection. Failed requests are not repeated.
    """

    def __init__(
        self,
        ports: Sequence[int],
        *,
        clients: int = 16,
        rate: float | None = None,
        total: int | None = None,
        keep_alive: bool = True,
    ) -> None:
        self.outcomes: list[Outcome] = []
        self._turns = itertools.count()
        self._total = total
        self._pause = clients / rate if rate else 0.0
        self._keep_alive = keep_alive
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(ports[number % len(ports)],), daemon=True)
            for number in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def failures(self) -> list[str]:
        return [outcome.failure for outcome in self.outcomes if outcome.failure]

    def shares(self, since: float = 0.0, until: float = float("inf")) -> Counter[int]:
        """Responses by the port of the backend, for requests that started in this interval of the monotonic clock."""
        return Counter(
            outcome.port for outcome in self.outcomes if not outcome.failure and since <= outcome.began < until
        )

    def stop(self) -> None:
        """Start no more requests, and wait for those in progress."""
        self._stop.set()
        self.join()

    def join(self, within: float = PATIENCE) -> None:
        """Wait until all clients have ended."""
        deadline = time.monotonic() + within
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            assert not thread.is_alive(), "a client is still waiting for its answer"

    def _run(self, port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        while not self._stop.is_set() and (self._total is None or next(self._turns) < self._total):
            began = time.monotonic()
            try:
                connection.request("GET", "/")
                response = connection.getresponse()
                body = response.read()
                body_of_demo = _BODY.fullmatch(body)
                if response.status == 200 and body_of_demo:
                    self.outcomes.append(Outcome(began, int(body_of_demo[1]), ""))
                else:
                    self.outcomes.append(Outcome(began, 0, f"{response.status} {body[:200]!r}"))
            except (OSError, http.client.HTTPException) as error:
                self.outcomes.append(Outcome(began, 0, repr(error)))
                connection.close()
            if not self._keep_alive:
                connection.close()
            self._stop.wait(max(0.0, began + self._pause - time.monotonic()))
        connection.close()


@contextmanager
def traffic(*ports: int, clients: int = 8, rate: float = 200.0, keep_alive: bool = True) -> Iterator[Traffic]:
    """Traffic for the length of a block."""
    running = Traffic(ports, clients=clients, rate=rate, keep_alive=keep_alive)
    try:
        yield running
    finally:
        running.stop()


@dataclass(frozen=True, slots=True)
class AccessLogLine:
    """A line of the balancer's access log: its time and the start of the request (both in seconds since the epoch, to
    the millisecond), and the backends that were tried, in order.
    """

    moment: float
    began: float
    target: str
    status: int
    tried: tuple[str, ...]


def access_log(text: str) -> list[AccessLogLine]:
    """The access log within the output of gunicorn."""
    lines = []
    for match in _LINE.finditer(text):
        moment = datetime.strptime(match["moment"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp()
        tried = match["tried"]
        names = [part.rpartition(":")[0] for part in tried.split(",")] if tried else [match["backend"]]
        lines.append(
            AccessLogLine(
                moment, moment - float(match["total"]) / 1000, match["target"], int(match["status"]), tuple(names)
            )
        )
    return lines
