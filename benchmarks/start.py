"""The start of an instance: how long until its first response, and until the first probe of a checker.

Each start is a new process, whose bytecode an earlier one has written. `benchmarks.footprint` measures starts in turns.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.harness import processor_seconds, running, serving
from benchmarks.proxies import Competitor
from devtools.environment import HOST

#: Seconds after which a start has failed.
PATIENCE = 30.0
#: Written once, bytecode spares each start the compilation of all modules; some environments turn it off.
BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds since the execution of the command; the part of them in which a process was ready and waited for a
    processor, as on a busy machine; and the processor time of all processes until then.
    """

    seconds: float
    waited: float
    processor: float

    @property
    def undisturbed(self) -> float:
        """Seconds on a machine that does nothing else."""
        return self.seconds - self.waited

    def row(self) -> list[str]:
        """As cells of a table."""
        return [f"{value:.2f}" for value in (self.undisturbed, self.seconds, self.processor)]


#: The heads of a table of starts.
START_HEAD = ["until the", "s", "s with waits for a processor", "s of processor time"]


def typical(starts: Sequence[Start]) -> Start:
    """The start of the middle, by its undisturbed seconds."""
    return sorted(starts, key=lambda start: start.undisturbed)[len(starts) // 2]


def first_response(competitor: Competitor) -> Start:
    """Start gunicorn without a checker. Raises RuntimeError without a response of 200."""
    begun = time.monotonic()
    with running(competitor.commands[:1], competitor.port, _environ(competitor.environ)) as (master,):
        with socket.create_connection((HOST, competitor.port), PATIENCE) as client:
            client.sendall(load.GET)
            response = client.recv(4096)
        seconds = time.monotonic() - begun
        waited = _waited(master.pid) + min(map(_waited, serving(master.pid)))  # of the worker that was first
        start = Start(seconds, waited, processor_seconds([master.pid]))
    if not response.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the first response is {response[:40]!r}")
    return start


def first_probe(competitor: Competitor, backend: socket.socket, open_port: int) -> Start:
    """Start the checker of a competitor whose one backend is this listening socket."""
    backend.settimeout(PATIENCE)
    begun = time.monotonic()
    with running(competitor.commands[1:], open_port, _environ(competitor.environ)) as (checker,):
        backend.accept()[0].close()
        seconds = time.monotonic() - begun
        return Start(seconds, _waited(checker.pid), processor_seconds([checker.pid]))


def _waited(process: int) -> float:
    """Seconds in which the main thread of a process was ready, and had no processor. A kernel without these statistics
    has none.
    """
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    except FileNotFoundError:
        return 0.0


def _environ(given: Mapping[str, str]) -> dict[str, str]:
    return {**given, **BYTECODE}
