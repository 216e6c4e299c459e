"""Samples the health of every worker of an instance, over a connection of the admin listener to each.

A client cannot choose the worker of a connection, so connections are made until each worker has one; /proc shows
which process has which connection.
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

#: Seconds between two samples of a worker.
INTERVAL = 0.05
#: Seconds for a response.
PATIENCE = 2.0
#: Limit of the connections that are made to find one to each worker.
TRIES = 40


def owners(port: int, pids: Sequence[int]) -> dict[int, int]:
    """The processes, of these, that hold connections to the port: pid by the port of the client."""
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
    """Samples the workers of one instance, in a thread. `pids` returns the ids of the present ones."""

    def __init__(self, port: int, pids: Callable[[], list[int]]) -> None:
        self.samples: list[HealthSample] = []
        self._port = port
        self._pids = pids
        self._pinned: dict[int, http.client.HTTPConnection] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the sampling."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL):
            with suppress(OSError):
                if set(self._pids()) - self._pinned.keys():
                    self._pin()
            for pid, connection in list(self._pinned.items()):
                try:
                    self.samples.append(sample(time.monotonic, self._port, pid, _health(connection)))
                except (OSError, http.client.HTTPException):
                    self._pinned.pop(pid).close()
        for connection in self._pinned.values():
            connection.close()

    def _pin(self) -> None:
        """Make connections until each worker has one. Spare ones stay open until then: the next goes elsewhere."""
        spare = []
        pids = self._pids()
        for _ in range(TRIES):
            connection = http.client.HTTPConnection(HOST, self._port, timeout=PATIENCE)
            try:
                _health(connection)
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


def _health(connection: http.client.HTTPConnection) -> Mapping[str, Any]:
    connection.request("GET", "/health")
    document: Mapping[str, Any] = json.loads(connection.getresponse().read())
    return document


def sample(clock: Callable[[], float], port: int, pid: int, document: Mapping[str, Any]) -> HealthSample:
    """A sample from a document of /health."""
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
    """Observe for the length of a block."""
    observer = Observer(port, pids)
    try:
        yield observer
    finally:
        observer.stop()
