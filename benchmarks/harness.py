"""What every benchmark stands on: ports, processes that end with it, a private store, and the memory of processes."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from devtools.environment import HOST, ROOT, raise_file_limit
from lbflask.store.embedded import EmbeddedServer

WORKERS = 2
#: Seconds between two looks at a process's memory.
LOOK_EVERY = 0.02

Command = list[str]


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a benchmark works: a private directory, and the URL of a private store."""

    work: Path
    redis_url: str


@contextmanager
def bench() -> Iterator[Bench]:
    """A directory and a store for one run; both are gone afterwards, also when the run is ended by SIGTERM."""
    raise_file_limit()
    signal.signal(signal.SIGTERM, _leave)
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lbf-bench-")))
        work.chmod(0o700)
        store = EmbeddedServer(work)
        store.start()
        stack.callback(store.stop)
        yield Bench(work, f"unix://{store.socket}")


def _leave(_signal: int, _frame: object) -> None:
    """The default would end us at once, and leave all that we started running."""
    sys.exit("ended by SIGTERM")


def need(*tools: str) -> None:
    """End with a line that says what to install, unless the tools are here."""
    for tool in tools:
        if not shutil.which(tool):
            sys.exit(f"{tool} is needed for the measurement: apt-get install {tool}")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on right now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


@contextmanager
def running(
    commands: Sequence[Command], port: int, environ: dict[str, str] | None = None
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes, once the port answers; ended afterwards. Raises RuntimeError when they do not start."""
    children = [
        subprocess.Popen(
            command,
            env={**os.environ, **(environ or {})},
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for command in commands
    ]
    try:
        _await_port(port, children, commands)
        yield children
    finally:
        for child in children:
            child.terminate()
        for child in children:
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


def _await_port(port: int, children: list[subprocess.Popen[bytes]], commands: Sequence[Command]) -> None:
    deadline = time.monotonic() + 20
    while True:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        for child, command in zip(children, commands, strict=True):
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"did not start: {' '.join(command)}")
        time.sleep(0.05)


def serving(process: int) -> list[int]:
    """The processes that do the work of a server: its children, or itself when it has none."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in children] or [process]


def resident(process: int) -> int:
    """Bytes of RSS. Cheap, so that it can be asked often."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()


def proportional(processes: Sequence[int]) -> int:
    """Bytes of PSS of all of them: what they share is counted once."""
    return sum(pss(Path(f"/proc/{process}/smaps_rollup").read_text()) for process in processes)


def pss(rollup: str) -> int:
    """Bytes of PSS that a smaps_rollup speaks of."""
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * 1024


class PeakMemory:
    """How far the RSS of each process has grown since the start, at its highest; bytes."""

    def __init__(self, processes: Sequence[int]) -> None:
        self._before = {process: resident(process) for process in processes}
        self._peak = dict(self._before)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def growth(self) -> int:
        """Of the process that grew most."""
        return max(self._peak[process] - before for process, before in self._before.items())

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_EVERY):
            for process, peak in self._peak.items():
                self._peak[process] = max(peak, resident(process))
