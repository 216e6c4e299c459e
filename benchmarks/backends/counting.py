"""A backend that takes a while for each request, and counts how many it has at once.

    python -m benchmarks.backends.counting PORT SECONDS

`/-/seen` answers with JSON: `now` and `most` requests at once, and how many were `served`; `/-/forget` begins anew. A
request for `/hold` ends with its connection, and so does what becomes a tunnel.
"""

from __future__ import annotations

import asyncio
import json
import sys


class Counting:
    """What it has seen."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.now = self.most = self.served = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = b"done"
                if head.startswith(b"GET /-/"):
                    body = json.dumps({"now": self.now, "most": self.most, "served": self.served}).encode()
                    if head.startswith(b"GET /-/forget"):
                        self.most, self.served = self.now, 0
                else:
                    if b"\r\nUpgrade: " in head:
                        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: any\r\n\r\n")
                    await self._work(reader if b" /hold " in head else None)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _work(self, held: asyncio.StreamReader | None) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await (asyncio.sleep(self.seconds) if held is None else held.read())
        finally:
            self.now -= 1
            self.served += 1


async def main() -> None:
    port, seconds = int(sys.argv[1]), float(sys.argv[2])
    server = await asyncio.start_server(Counting(seconds).serve, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
