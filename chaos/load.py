"""A steady rate of GETs over several instances, from a process of their own: an open loop, until told to stop.

Connections are kept and take turns, so that every worker gets its part. One that the other side has closed is made
anew; nothing is tried twice. A request's time counts from the moment it was due.

    python -m chaos.load RATE SLOW PORT…    every SLOWth request takes a while; stops when its input ends, prints JSON
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
#: Connections to each instance that are there from the start.
CONNECTIONS = 16
#: Seconds after which it ends in any case.
LONGEST = 600.0


def get(path: str) -> bytes:
    """The request."""
    return f"GET {path} HTTP/1.1\r\nHost: chaos\r\n\r\n".encode()


QUICKLY, SLOWLY = get("/"), get("/slow")


class Load:
    """The load while it runs."""

    def __init__(self, ports: Sequence[int], slow: int = 0, rate: float = RATE) -> None:
        command = [sys.executable, "-m", "chaos.load", str(rate), str(slow), *map(str, ports)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def stop(self) -> list[LoadRequest]:
        """No new requests; all that were made, when the last is over. Raises RuntimeError if it had ended before."""
        output, _ = self._process.communicate(timeout=40)
        if self._process.returncode != 0:
            raise RuntimeError("the load generator failed")
        return [LoadRequest(*request) for request in json.loads(output)]

    def kill(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def load(ports: Sequence[int], slow: int = 0, rate: float = RATE) -> Iterator[Load]:
    """Load for the length of a block."""
    running = Load(ports, slow, rate)
    try:
        yield running
    finally:
        running.kill()


class Generator:
    """The load from within."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._idle = {port: deque(Connection(port) for _ in range(CONNECTIONS)) for port in ports}
        self.asked: list[LoadRequest] = []

    async def run(self, rate: float, slow: int, stop: asyncio.Event) -> None:
        """Requests when they are due until stopped, and the end of the last."""
        began, turn = time.monotonic(), 0
        async with asyncio.TaskGroup() as group:
            while not stop.is_set() and turn < rate * LONGEST:
                due = began + turn / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                request = SLOWLY if slow and turn % slow == 0 else QUICKLY
                # Slow ones are for every port, also when their distance is a multiple of the number of ports.
                port = self._ports[(turn + (turn // slow if slow else 0)) % len(self._ports)]
                group.create_task(self._ask(port, request, due))
                turn += 1

    async def _ask(self, port: int, request: bytes, due: float) -> None:
        idle, failure = self._idle[port], ""
        connection = idle.popleft() if idle else Connection(port)
        if connection.stale:
            connection.close()
        try:
            answer = await connection.ask(request)
            if answer.status != 200:
                failure = str(answer.status)
        except (OSError, EOFError) as error:
            failure = repr(error)
        self.asked.append(LoadRequest(due, time.monotonic(), port, connection.local_port, failure, request is SLOWLY))
        idle.append(connection)

    def close(self) -> None:
        """Let go of all connections."""
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
    print(json.dumps([[r.due, r.ended, r.port, r.local, r.failure, r.slow] for r in generator.asked]))


if __name__ == "__main__":
    asyncio.run(main())
