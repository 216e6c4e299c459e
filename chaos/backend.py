"""A backend with a mode that can be changed, and a log of each request that it begins to serve.

`GET /slow` takes SLOW seconds, `GET /hold` waits until the client closes, `GET /drip/N` sends N pieces with pauses,
`GET /tunnel` becomes a tunnel that echoes, `GET /check` is for the checker, all other requests are answered at once.
`GET /-/MODE` changes the mode: `well`, `broken` (500 for everything but checks), `flapping` (503 for every third
check), `partly` (500 for /slow), `missing` (404 for everything but checks), `slow` (SLOWER seconds for everything but
checks), or `hanging` (no answer to anything but checks).

LOG gets a line for each request: the time on the steady clock that all processes of a machine share, the target, and
the status.

    python -m chaos.backend PORT LOG [MODE]
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
SLOWER = 0.5
MODES = ("well", "broken", "flapping", "partly", "missing", "slow", "hanging")
#: A flapping backend fails one check of so many.
ONE_IN = 3


@dataclass(frozen=True, slots=True)
class Served:
    """A line of the log."""

    moment: float
    target: str
    status: int


def read_log(text: str) -> list[Served]:
    """The complete lines of a log, without one that is being written."""
    lines = (line.split(" ") for line in text.splitlines(keepends=True) if line.endswith("\n"))
    return [Served(float(moment), target, int(status)) for moment, target, status in lines]


class Backend:
    """The mode and the log of the backend."""

    def __init__(self, log: Path, mode: str) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._mode = mode
        self._checks = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve requests, one after another, until the connection ends."""
        try:
            while True:
                head = Head.parse(await reader.readuntil(HEAD_END))
                status = self._note(head.line[1])
                await reader.readexactly(head.length)
                if head.line[1] == "/hold" or self._hangs(head.line[1]):
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
                elif self._mode == "slow" and _is_ordinary(head.line[1]):
                    await asyncio.sleep(SLOWER)
                writer.write(b"HTTP/1.1 %d .\r\nContent-Length: 2\r\n\r\n.\n" % status)
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    def _hangs(self, target: str) -> bool:
        return self._mode == "hanging" and _is_ordinary(target)

    def _note(self, target: str) -> int:
        """Write the line of the request. Returns the status of the response."""
        if target.startswith("/-/"):
            self._mode = target.removeprefix("/-/")
            return 200 if self._mode in MODES else 404
        status = 200
        if target == "/check":
            self._checks += 1
            status = 503 if self._mode == "flapping" and self._checks % ONE_IN == 0 else 200
        elif self._mode == "broken" or (self._mode == "partly" and target == "/slow"):
            status = 500
        elif self._mode == "missing":
            status = 404
        os.write(self._log, f"{time.monotonic():.6f} {target} {status}\n".encode())
        return status


def _is_ordinary(target: str) -> bool:
    return target != "/check" and not target.startswith("/-/")


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
    port, log, *mode = sys.argv[1:]
    backend = Backend(Path(log), mode[0] if mode else "well")
    server = await asyncio.start_server(backend.serve, HOST, int(port), backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
