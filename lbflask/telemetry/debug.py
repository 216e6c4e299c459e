"""Traces the steps of each request in the error log, for a time that an operator sets.

The switch is a file in the directory that the workers of an instance share; each worker reads it in the background.
`LBFLASK_DEBUG=1` switches tracing on from the start, until an operator switches it off. The request path reads one
attribute for each step: `if SWITCH.enabled: trace(…)`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lbflask.core.redaction import masked_target
from lbflask.telemetry.event_queue import TimedEvent

VARIABLE = "LBFLASK_DEBUG"
#: Seconds for which tracing may be switched on.
DEFAULT_DURATION, MAX_DURATION = 300, 3600

_FILE = "debug"
#: Values that stand in a line as they are: without blanks, quotes and controls, in ASCII.
_PLAIN = re.compile(r"[!#-~]+").fullmatch

log = logging.getLogger("lbflask")
#: Its level does not depend on that of the error log, whose handlers it uses.
_steps = logging.getLogger("lbflask.debug")
_steps.setLevel(logging.DEBUG)


class NoSharedDirectory(Exception):
    """The workers of the instance share no directory, so one of them cannot reach the others."""


class DebugSwitch:
    """Whether this worker traces. An event sink, since that is called at an interval; it ignores the events."""

    def __init__(self, *, enabled: bool = False) -> None:
        self.enabled = enabled
        self._expires = math.inf if enabled else 0.0
        self._path: Path | None = None

    def __repr__(self) -> str:
        return f"<DebugSwitch {'on' if self.enabled else 'off'} path={self._path}>"

    def start(self, directory: Path | None) -> None:
        """Follow the switch of the workers that share this directory; None for no others."""
        self._path = None if directory is None else directory / _FILE
        if self.enabled:
            log.warning("the steps of requests are logged, by %s", VARIABLE)

    def consume(self, batch: Sequence[TimedEvent]) -> None:  # noqa: ARG002
        """See EventSink: called at an interval."""
        if self._path is not None:
            try:
                self._expires = float(self._path.read_bytes())
            except FileNotFoundError:
                pass  # never switched: as at the start
            except (OSError, ValueError):
                self._expires = 0.0
        enabled = time.monotonic() < self._expires
        if enabled is not self.enabled:
            self.enabled = enabled
            log.warning("the steps of requests are %s", "logged" if enabled else "logged no more")

    def dropped(self, count: int) -> None:
        """See EventSink."""

    def switch(self, seconds: float) -> None:
        """Trace for so many seconds, in all workers of the instance; 0 ends it. Raises NoSharedDirectory, OSError."""
        if self._path is None:
            raise NoSharedDirectory(f"the workers share no directory: set {VARIABLE}=1 and restart")
        # The steady clock is the same for all processes of a machine, and is not set back.
        expires = time.monotonic() + seconds if seconds else 0.0
        unpublished = self._path.with_suffix(f".{os.getpid()}")
        unpublished.write_text(f"{expires}\n", "ascii")
        unpublished.rename(self._path)
        self.consume(())

    def remaining(self) -> float:
        """Seconds until tracing ends, 0 if it is off; infinite if it was switched on at the start."""
        self.consume(())
        return max(0.0, self._expires - time.monotonic())


SWITCH: Final = DebugSwitch(enabled=os.environ.get(VARIABLE, "") not in ("", "0"))


def trace(request_id: str, step: str, **facts: object) -> None:
    """Log one step of a request. Secrets of targets are masked; values cannot break the line or forge another."""
    if "target" in facts:
        facts["target"] = masked_target(str(facts["target"]))
    pieces = [f"{name}={_text(fact)}" for name, fact in {"id": request_id, "step": step, **facts}.items()]
    _steps.debug("%s", " ".join(pieces))


def trace_arrival(request_id: str, head: tuple[str, str, str, str], route: str, pool: str) -> None:
    """Log the first steps of a request: its client, method, target and protocol, and where it goes."""
    client, method, target, protocol = head
    trace(request_id, "parsed", client=client, method=method, target=target, protocol=protocol)
    trace(request_id, "routed", route=route, pool=pool)


def _text(fact: object) -> str:
    if isinstance(fact, float):
        return f"{fact:.6f}"
    text = ",".join(map(str, fact)) if isinstance(fact, (list, tuple)) else str(fact)
    return text if _PLAIN(text) else json.dumps(text)
