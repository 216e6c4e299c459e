"""Shared by the benchmarks: ports, processes that end with a benchmark, a private store, memory and processor time of
processes.
"""

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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from devtools.environment import HOST, ROOT, raise_file_limit
from devtools.memory import read_memory
from lbflask.store.embedded import EmbeddedServer

WORKERS = 2
#: Seconds between two samples of a process's memory.
SAMPLE_INTERVAL = 0.02

Command = list[str]


@dataclass(frozen=True, slots=True)
class Bench:
    """A private directory, and the URL of a private store."""

    work: Path
    redis_url: str


@contextmanager
def bench() -> Iterator[Bench]:
    """A directory and a store for one run. Both are removed afterwards, also after SIGTERM."""
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
    """Exit in order: the default would leave all started processes running."""
    sys.exit("ended by SIGTERM")


def need(*tools: str) -> None:
    """Exit with a line that names the package to install if a tool is missing."""
    for tool in tools:
        if not shutil.which(tool):
            sys.exit(f"{tool} is needed for the measurement: apt-get install {tool}")


def free_ports(count: int) -> list[int]:
    """Ports that are not in use now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


@contextmanager
def running(
    commands: Sequence[Command], port: int, environ: dict[str, str] | None = None
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start the processes, and wait for the port; they end with the block. Raises RuntimeError if they do not start."""
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


def await_response(port: int) -> None:
    """Wait until a GET has a response: a server may listen long before its workers serve. Raises OSError after 30 s."""
    with socket.create_connection((HOST, port), timeout=30) as probe:
        probe.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
        if not probe.recv(1):
            raise ConnectionError(f"nothing serves at port {port}")


def serving(process: int) -> list[int]:
    """The worker processes of a server: its children, or the server if it has none."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in children] or [process]


def processor_seconds(processes: Sequence[int]) -> float:
    """The processor time of the processes and all their descendants until now: of every thread, user and kernel."""
    seconds, ahead = 0.0, list(processes)
    while ahead:
        process = ahead.pop()
        try:
            times = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:15]
            tasks = list(Path(f"/proc/{process}/task").iterdir())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended, and its parent has its time
        for task in tasks:
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended has no children
                ahead += [int(child) for child in (task / "children").read_text().split()]
        seconds += sum(map(int, times)) / os.sysconf("SC_CLK_TCK")  # the last two are of children that have ended
    return seconds


def resident(process: int) -> int:
    """Bytes of RSS, read cheaply."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()


def proportional(processes: Sequence[int]) -> int:
    """Bytes of PSS of the processes: shared memory counts once."""
    return sum(read_memory(process).proportional for process in processes)


class PeakMemory:
    """The peak growth of the RSS of each process since the start, in bytes."""

    def __init__(self, processes: Sequence[int]) -> None:
        self._before = {process: resident(process) for process in processes}
        self._peak = dict(self._before)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def growth(self) -> int:
        """The growth of the process that grew most."""
        return max(self._peak[process] - before for process, before in self._before.items())

    def stop(self) -> None:
        """End the sampling."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_INTERVAL):
            for process, peak in self._peak.items():
                self._peak[process] = max(peak, resident(process))
