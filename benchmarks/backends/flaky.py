"""A backend that ends keep-alive connections when it likes, and notes every request that it began to serve.

After a request it rolls the dice. What may happen, all equally likely, of CHANCE percent of the requests together:

- `closed`: the connection closes right after the response;
- `reset`: the same with a reset, a moment later, when the next request may be on its way already;
- `closed on arrival`, `reset on arrival`: it stays open until the first byte of the next request, and then ends;
- `cut`: the request is served, and the connection reset before any byte of the response.

A request that arrives at a connection which is about to end is not begun. LOG gets a line for each request begun
(method and id, the last part of the target) and, with a `!`, for each connection ended.

    python -m benchmarks.backends.flaky PORT LOG CHANCE SEED
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
import sys
from pathlib import Path

from devtools.environment import HOST
from devtools.wire import HEAD_END, Head

ENDS = ("closed", "reset", "closed on arrival", "reset on arrival", "cut")
#: Seconds after which a `reset` follows a response, at most.
MOMENT = 0.005


class Dice:
    """How each request ends: one of ENDS, or nothing."""

    def __init__(self, chance: float, seed: int) -> None:
        self._chance = chance / 100
        self._random = random.Random(seed)

    def end(self) -> str:
        """What happens after this request."""
        return self._random.choice(ENDS) if self._random.random() < self._chance else ""

    def moment(self) -> float:
        """Seconds."""
        return self._random.uniform(0, MOMENT)


class Journal:
    """Lines of a file, each written at once, so that a kill loses none."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, line: str) -> None:
        """One line."""
        os.write(self._file, line.encode() + b"\n")


class Flaky(asyncio.Protocol):
    """One connection."""

    def __init__(self, dice: Dice, journal: Journal) -> None:
        self._dice = dice
        self._journal = journal
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self._head: Head | None = None
        self._doom = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._doom:
            if self._doom.endswith("on arrival"):
                self._end()
            return
        self._data += data
        if self._head is None and HEAD_END in self._data:
            head, _, self._data = self._data.partition(HEAD_END)
            self._head = Head.parse(head)
            self._journal.write(f"{self._head.line[0]} {self._id()}")
        if self._head is not None and len(self._data) >= self._head.length:
            self._data = self._data[self._head.length :]
            self._answer()

    def _id(self) -> str:
        assert self._head is not None
        return self._head.line[1].rpartition("/")[2]

    def _answer(self) -> None:
        assert self._transport is not None
        body, self._head = self._id().encode(), None
        self._doom = self._dice.end()
        if self._doom != "cut":
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        if self._doom in ("cut", "closed"):
            self._end()
        elif self._doom == "reset":
            asyncio.get_running_loop().call_later(self._dice.moment(), self._end)

    def _end(self) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return
        self._journal.write(f"! {self._doom}")
        if self._doom.startswith("closed"):
            self._transport.close()
            return
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


async def main() -> None:
    port, path, chance, seed = int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    dice, journal = Dice(chance, seed), Journal(path)
    server = await asyncio.get_running_loop().create_server(lambda: Flaky(dice, journal), HOST, port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
