"""A backend that can be told how to behave, and notes every request that it begins to serve.

`GET /slow` takes SLOW seconds, `GET /hold` waits until the client goes, `GET /drip/N` sends N pieces with pauses,
`GET /tunnel` becomes a tunnel that gives all back, `GET /check` is for the checker, everything else is answered at
once. `GET /-/MOOD` changes the mood: `well`, `broken` (500 to everything but checks), or `flapping` (503 to every third
check). LOG gets a line for each request: the moment on the steady clock that all processes of a machine share, the
target, and the status.

    python -m chaos.backend PORT LOG [MOOD]
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from devtools.environment import HOST, raise_file_limit
from devtools.wire import HEAD_END, Head

#: Seconds.
SLOW = 0.3
DRIP = 0.1
MOODS = ("well", "broken", "flapping")
#: Of so many checks a flapping backend fails one.
ONE_IN = 3


@dataclass(frozen=True, slots=True)
class Served:
    """A line of the log."""

    moment: float
    target: str
    status: int


def read_log(text: str) -> list[Served]:
    """The whole lines of a log; one that is being written is left out."""
    lines = (line.split(" ") for line in text.splitlines(keepends=True) if line.endswith("\n"))
    return [Served(float(moment), target, int(status)) for moment, target, status in lines]


class Backend:
    """Its mood and its log."""

    def __init__(self, log: Path, mood: str) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._mood = mood
        self._checks = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests in turn until the connection ends."""
        try:
            while True:
                head = Head.parse(await reader.readuntil(HEAD_END))
                status = self._note(head.line[1])
                if head.line[1] == "/hold":
                    await reader.read()
                    return
                if head.line[1] == "/tunnel":
                    await _echo(reader, writer)
                    return
                if head.line[1].startswith("/drip/"):
                    await _drip(int(head.line[1].removeprefix("/drip/")), writer)
                    continue
                if head.line[1] == "/slow":
                    await asyncio.sleep(SLOW)
                writer.write(b"HTTP/1.1 %d .\r\nContent-Length: 2\r\n\r\n.\n" % status)
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    def _note(self, target: str) -> int:
        """Write the line; the status to answer with."""
        if target.startswith("/-/"):
            self._mood = target.removeprefix("/-/")
            return 200 if self._mood in MOODS else 404
        status = 200
        if target == "/check":
            self._checks += 1
            status = 503 if self._mood == "flapping" and self._checks % ONE_IN == 0 else 200
        elif self._mood == "broken":
            status = 500
        os.write(self._log, f"{time.monotonic():.6f} {target} {status}\n".encode())
        return status


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 101 .\r\nConnection: Upgrade\r\nUpgrade: x-echo\r\n\r\n")
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()


async def _drip(pieces: int, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 .\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(pieces):
        writer.write(b"1\r\n.\r\n")
        await writer.drain()
        await asyncio.sleep(DRIP)
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def main() -> None:
    raise_file_limit()
    port, log, *mood = sys.argv[1:]
    backend = Backend(Path(log), mood[0] if mood else "well")
    server = await asyncio.start_server(backend.serve, HOST, int(port), backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
