"""A backend that responds at once, but for CHANCE percent of its requests, which wait for SECONDS.

LOG gets a byte for each request that arrives.

    python -m benchmarks.backends.stalling PORT LOG CHANCE SECONDS SEED
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path
from typing import BinaryIO

from devtools.environment import HOST
from devtools.wire import HEAD_END

RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class StallingBackend:
    """Serves connections."""

    def __init__(self, log: BinaryIO, chance: float, seconds: float, seed: int) -> None:
        self._log = log
        self._chance = chance / 100
        self._seconds = seconds
        self._random = random.Random(seed)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The requests of one connection."""
        try:
            while True:
                await reader.readuntil(HEAD_END)
                self._log.write(b".")
                if self._random.random() < self._chance:
                    await asyncio.sleep(self._seconds)
                writer.write(RESPONSE)
                await writer.drain()
        except (OSError, EOFError):
            writer.close()


async def main(port: int, path: Path, chance: float, seconds: float, seed: int) -> None:
    with path.open("ab", buffering=0) as log:
        backend = StallingBackend(log, chance, seconds, seed)
        server = await asyncio.start_server(backend.serve, HOST, port, backlog=1024)
        await server.serve_forever()


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(
        main(int(arguments[0]), Path(arguments[1]), float(arguments[2]), float(arguments[3]), int(arguments[4]))
    )
