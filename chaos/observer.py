"""What every worker of every instance says of itself, all the time: a connection to the admin listener of each.

Which worker takes a connection is not ours to choose, so connections are made until each worker has one; whose it is
stands in /proc.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from chaos.analysis import HealthSample
from devtools.environment import HOST

#: Seconds between two questions to a worker.
EVERY = 0.05
#: Seconds that it has for its answer.
PATIENCE = 2.0
#: Connections that are made at most to find one of each worker.
TRIES = 40


def owners(port: int, pids: Sequence[int]) -> dict[int, int]:
    """Which of these processes holds the connection from a local port to this one: pid by the client's port."""
    held = {inode: pid for pid in pids for inode in _sockets(pid)}
    found = {}
    for local, remote, inode in connections(Path("/proc/net/tcp").read_text()):
        if local == port and inode in held:
            found[remote] = held[inode]
    return found


def connections(table: str) -> Iterator[tuple[int, int, int]]:
    """Local port, remote port and inode of each line of /proc/net/tcp (proc_pid_net(5))."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        yield int(fields[1].partition(":")[2], 16), int(fields[2].partition(":")[2], 16), int(fields[9])


def _sockets(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                target = str(Path(entry.path).readlink())
                if target.startswith("socket:["):
                    yield int(target[8:-1])


class Observer:
    """Asks the workers of one instance, in a thread. `pids` tells who they are by now."""

    def __init__(self, port: int, pids: Callable[[], list[int]]) -> None:
        self.sights: list[HealthSample] = []
        self._port = port
        self._pids = pids
        self._pinned: dict[int, http.client.HTTPConnection] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            with suppress(OSError):
                if set(self._pids()) - self._pinned.keys():
                    self._pin()
            for pid, connection in list(self._pinned.items()):
                try:
                    self.sights.append(sight(time.monotonic, self._port, pid, _ask(connection)))
                except (OSError, http.client.HTTPException):
                    self._pinned.pop(pid).close()
        for connection in self._pinned.values():
            connection.close()

    def _pin(self) -> None:
        """Make connections until each worker has one; the others are closed only then, so that they draw no more."""
        spare = []
        pids = self._pids()
        for _ in range(TRIES):
            connection = http.client.HTTPConnection(HOST, self._port, timeout=PATIENCE)
            try:
                _ask(connection)
                pid = owners(self._port, pids).get(connection.sock.getsockname()[1])
            except (OSError, AttributeError, http.client.HTTPException):
                pid = None
            if pid is None or pid in self._pinned:
                spare.append(connection)
            else:
                self._pinned[pid] = connection
            if self._stop.is_set() or not set(pids) - self._pinned.keys():
                break
        for connection in spare:
            connection.close()


def _ask(connection: http.client.HTTPConnection) -> Mapping[str, Any]:
    connection.request("GET", "/health")
    document: Mapping[str, Any] = json.loads(connection.getresponse().read())
    return document


def sight(clock: Callable[[], float], port: int, pid: int, document: Mapping[str, Any]) -> HealthSample:
    """What the document says."""
    pool = document["pools"]["default"]
    states = pool["states"]
    return HealthSample(
        clock(),
        port,
        pid,
        document["status"],
        document["store"],
        pool["checker_silent_for"],
        sum(state["health"] == "unknown" for state in states.values()),
        tuple(name for name, state in states.items() if state["ejected"]),
    )


@contextmanager
def observing(port: int, pids: Callable[[], list[int]]) -> Iterator[Observer]:
    """Look for the length of a block."""
    looking = Observer(port, pids)
    try:
        yield looking
    finally:
        looking.stop()
