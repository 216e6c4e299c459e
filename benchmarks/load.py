"""Ordinary requests at a steady rate, from a separate process: an open loop, which does not wait for responses.

The time of a request counts from the moment it was due, so that the figures include all requests that a stalled
balancer delayed. Prints JSON: the seconds of each response in `latencies`, and the number of failures.

    python -m benchmarks.load PORT RATE SECONDS
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass

from devtools.environment import raise_file_limit
from devtools.load_client import Connection
from devtools.report import percentile

GET = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Load:
    """The result of a load."""

    latencies: list[float]
    errors: int

    def ms(self, percent: float) -> float:
        """A percentile in milliseconds; NaN without any response."""
        return percentile(self.latencies, percent) * 1000

    def summary(self) -> dict[str, float]:
        """For a file: counts, and percentiles in milliseconds."""
        shown = {f"p{percent:g} ms": round(self.ms(percent), 3) for percent in (50, 90, 99, 99.9, 100)}
        return {"answers": len(self.latencies), "errors": self.errors, **shown}


async def run(port: int, rate: float, seconds: float) -> Load:
    """Load for so many seconds, from another process, so that this one does not slow it down."""
    command = [sys.executable, "-m", "benchmarks.load", str(port), str(rate), str(seconds)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        output, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise RuntimeError("the load generator failed")
    return Load(**json.loads(output))


async def open_loop(port: int, rate: float, seconds: float) -> Load:
    """Send requests when they are due, each on an idle connection or a new one."""
    loop = asyncio.get_running_loop()
    idle: list[Connection] = []
    latencies: list[float] = []
    errors = 0

    async def send(due: float) -> None:
        nonlocal errors
        connection = idle.pop() if idle else Connection(port)
        try:
            answer = await connection.send(GET)
        except (OSError, EOFError):
            errors += 1
            return
        if answer.status == 200:
            latencies.append(loop.time() - due)
        else:
            errors += 1
        idle.append(connection)

    began = loop.time()
    async with asyncio.TaskGroup() as group:
        for turn in range(int(rate * seconds)):
            due = began + turn / rate
            await asyncio.sleep(max(0.0, due - loop.time()))
            group.create_task(send(due))
    for connection in idle:
        connection.close()
    return Load(latencies, errors)


def main() -> None:
    raise_file_limit()
    port, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    load = asyncio.run(open_loop(port, rate, seconds))
    print(json.dumps({"latencies": load.latencies, "errors": load.errors}))


if __name__ == "__main__":
    main()
