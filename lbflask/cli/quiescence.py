"""The wait until no requests go to a backend or an instance any more, with a progress bar.

Requests in flight are samples: a request that begins and ends between two of them is in none. Counters of attempts,
which only grow, show it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lbflask.cli.api_client import Unreachable
from lbflask.cli.context import CliContext

#: Seconds between two readings.
POLL_INTERVAL = 0.5
#: Seconds without a request in flight and without an attempt until the wait ends: within them each live worker has
#: reported its requests, and a killed one has expired.
QUIET_TIME = 2.0
#: Seconds in which every worker has applied the change, so that what still arrives will go on to arrive.
SETTLED_AFTER = 3.0
#: Seconds over which a rate is measured.
RATE_WINDOW = 5.0


class Load(NamedTuple):
    """Requests in flight, and all attempts so far; None if they could not be read."""

    in_flight: int | None = None
    attempts: int | None = None


@dataclass(frozen=True, slots=True)
class Quiescence:
    """What is waited for. `load` may raise Unreachable, which counts as unknown.

    `arrivals` states what still arrives, with `{rate}` for the requests per second, and what ends it.
    """

    title: str
    load: Callable[[], Load]
    arrivals: str


class _Observation:
    """The readings so far."""

    def __init__(self, arrivals: str) -> None:
        self._arrivals = arrivals
        self._counts: deque[tuple[float, int]] = deque()
        self._latest = Load()
        self.started = self._quiet_since = time.monotonic()
        self.peak = 0

    def add(self, load: Load) -> None:
        """Add a reading of now."""
        now, self._latest = time.monotonic(), load
        if load.attempts is None or load.in_flight is None:
            self._quiet_since = now
            return
        if load.in_flight or (self._counts and self._counts[-1][1] != load.attempts):
            self._quiet_since = now
        self.peak = max(self.peak, load.in_flight)
        self._counts.append((now, load.attempts))
        while self._counts[0][0] < now - RATE_WINDOW:
            self._counts.popleft()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing was in flight and no attempt was made for QUIET_TIME."""
        return self._latest.in_flight == 0 and time.monotonic() - self._quiet_since >= QUIET_TIME

    @property
    def rate(self) -> float:
        """Attempts per second, over the last RATE_WINDOW seconds."""
        if len(self._counts) < 2:
            return 0.0
        (began, first), (ended, last) = self._counts[0], self._counts[-1]
        return max(0, last - first) / max(POLL_INTERVAL, ended - began)

    @property
    def still_arrives(self) -> str:
        """What still arrives, after every worker has applied the change; empty for nothing."""
        if time.monotonic() - self.started < SETTLED_AFTER or not self.rate:
            return ""
        return self._arrivals.replace("{rate}", f"{self.rate:.1f}")

    @property
    def why_not(self) -> str:
        """Why this is not quiet."""
        if self._latest.in_flight is None:
            return "the state of the fleet is unknown (`lbflask doctor`)"
        parts = [f"{self._latest.in_flight} in flight"] if self._latest.in_flight else []
        if self.rate:
            parts.append(self._arrivals.replace("{rate}", f"{self.rate:.1f}"))
        return ", ".join(parts) or f"it has been quiet for less than {QUIET_TIME:g} s"


def wait_until_quiet(context: CliContext, quiescence: Quiescence, timeout: float | None) -> str:
    """Wait until nothing was in flight and no attempt was made for QUIET_TIME; then the result is empty.

    After `timeout` seconds the result is why it is not quiet; None waits without end.
    """
    seen, warned = _Observation(quiescence.arrivals), False
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"), TimeElapsedColumn())
    with Progress(*columns, console=context.console, disable=context.as_json) as progress:
        bar = progress.add_task(quiescence.title, total=1, left="…")
        while timeout is None or time.monotonic() - seen.started < timeout:
            load = _load(context, quiescence.load)
            seen.add(load)
            if load.in_flight is not None:
                left = f"{load.in_flight} in flight, {seen.rate:.1f} requests/s"
                progress.update(bar, total=max(1, seen.peak), completed=seen.peak - load.in_flight, left=left)
            if seen.is_quiet:
                progress.update(bar, completed=max(1, seen.peak), total=max(1, seen.peak))
                return ""
            if seen.still_arrives and not warned:
                warned = True
                click.echo(f"lbflask: {seen.still_arrives}", err=True)
            time.sleep(POLL_INTERVAL)
    return seen.why_not


def _load(context: CliContext, load: Callable[[], Load]) -> Load:
    """The reading of now; nothing while it is unknown."""
    try:
        return Load() if context.api.get("/fleet")["stale"] else load()
    except Unreachable:
        return Load()
