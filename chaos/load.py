"""A steady rate of GETs over several instances, from a separate process: an open loop, until its input ends.

Connections are kept and take turns, so that every worker gets its part. One that the other side has closed is replaced;
no request is retried. The time of a request counts from the moment it was due.

    python -m chaos.load RATE SLOW PORT…    every SLOWth request is for /slow; prints JSON at the end
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from chaos.analysis import LoadRequest
from devtools.environment import ROOT, raise_file_limit
from devtools.load_client import Connection

#: Requests a second, over all instances.
RATE = 500.0
#: Connections to each instance at the start.
CONNECTIONS = 16
#: Seconds after which the load ends in any case.
LONGEST = 600.0


def get(path: str) -> bytes:
    """A request for the path."""
    return f"GET {path} HTTP/1.1\r\nHost: chaos\r\n\r\n".encode()


FAST, SLOW = get("/"), get("/slow")


class Load:
    """The process of the load."""

    def __init__(self, ports: Sequence[int], slow: int = 0, rate: float = RATE) -> None:
        command = [sys.executable, "-m", "chaos.load", str(rate), str(slow), *map(str, ports)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def stop(self) -> list[LoadRequest]:
        """End the load, and return all its requests when the last is over. Raises RuntimeError if it failed before."""
        output, _ = self._process.communicate(timeout=40)
        if self._process.returncode != 0:
            raise RuntimeError("the load generator failed")
        return [LoadRequest(*request) for request in json.loads(output)]

    def kill(self) -> None:
        """Kill the process, unless it has ended."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def load(ports: Sequence[int], slow: int = 0, rate: float = RATE) -> Iterator[Load]:
    """Load for the length of a block."""
    process = Load(ports, slow, rate)
    try:
        yield process
    finally:
        process.kill()


class Generator:
    """Makes the requests of the load, in its process."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._idle = {port: deque(Connection(port) for _ in range(CONNECTIONS)) for port in ports}
        self.requests: list[LoadRequest] = []

    async def run(self, rate: float, slow: int, stop: asyncio.Event) -> None:
        """Send requests when they are due until `stop`, and wait for the last."""
        began, turn = time.monotonic(), 0
        async with asyncio.TaskGroup() as group:
            while not stop.is_set() and turn < rate * LONGEST:
                due = began + turn / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                request = SLOW if slow and turn % slow == 0 else FAST
                # Slow requests go to every port, even if their distance is a multiple of the number of ports.
                port = self._ports[(turn + (turn // slow if slow else 0)) % len(self._ports)]
                group.create_task(self._send(port, request, due))
                turn += 1

    async def _send(self, port: int, request: bytes, due: float) -> None:
        idle, failure = self._idle[port], ""
        connection = idle.popleft() if idle else Connection(port)
        if connection.stale:
            connection.close()
        try:
            response = await connection.send(request)
            if response.status != 200:
                failure = str(response.status)
        except (OSError, EOFError) as error:
            failure = repr(error)
        self.requests.append(LoadRequest(due, time.monotonic(), port, connection.local_port, failure, request is SLOW))
        idle.append(connection)

    def close(self) -> None:
        """Close all connections."""
        for idle in self._idle.values():
            for connection in idle:
                connection.close()


async def main() -> None:
    raise_file_limit()
    rate, slow, *ports = float(sys.argv[1]), int(sys.argv[2]), *map(int, sys.argv[3:])
    stop, generator = asyncio.Event(), Generator(ports)
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), stop.set)
    await generator.run(rate, slow, stop)
    loop.remove_reader(sys.stdin.fileno())
    generator.close()
    print(json.dumps([[r.due, r.ended, r.port, r.local, r.failure, r.slow] for r in generator.requests]))


if __name__ == "__main__":
    asyncio.run(main())
