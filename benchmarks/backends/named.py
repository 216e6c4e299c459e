"""Backends that name themselves in their responses, each after a time of its own; all in one process.

python -m benchmarks.backends.named PORT:SECONDS …
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from functools import partial

from devtools.environment import HOST
from devtools.wire import HEAD_END


def hello(port: int) -> bytes:
    """What the backend at this port answers: its port, as text."""
    body = str(port)
    return f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


async def serve(answer: bytes, seconds: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Requests without a body, in turn, until the connection ends."""
    with suppress(OSError, EOFError):
        while await reader.readuntil(HEAD_END):
            if seconds:
                await asyncio.sleep(seconds)
            writer.write(answer)
    writer.close()


async def main() -> None:
    for given in sys.argv[1:]:
        port, _, seconds = given.partition(":")
        await asyncio.start_server(partial(serve, hello(int(port)), float(seconds)), HOST, int(port), backlog=512)
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main())
