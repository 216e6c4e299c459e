"""A keep-alive HTTP/1.1 client on asyncio for load: one request at a time on a connection, without retries."""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from devtools.environment import HOST
from devtools.wire import HEAD_END, Head

#: Seconds until a request counts as failed.
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class LoadResponse:
    """Status, body and fields of a response, the latter by name in lower case."""

    status: int
    body: bytes
    fields: Mapping[str, str]


class Connection:
    """A connection that is opened when it is needed, again after it was closed; under TLS with a context."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._tls = tls
        self.local_port = 0  #: of this end of the latest connection
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def connected(self) -> bool:
        """Whether a connection is open, as far as this end has noticed."""
        return self._writer is not None

    @property
    def stale(self) -> bool:
        """Whether the peer has closed it since the latest response, even if the event loop has not read that yet."""
        if self._reader is None or self._writer is None:
            return False
        if self._reader.at_eof() or self._writer.is_closing():
            return True
        unread = select.poll()
        unread.register(self._writer.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(unread.poll(0))

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, unless it is connected. Returns both directions. Raises OSError."""
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(HOST, self._port, ssl=self._tls)
            self.local_port = self._writer.get_extra_info("sockname")[1]
        return self._reader, self._writer

    async def send(self, request: bytes) -> LoadResponse:
        """The response, whose length must be known. Raises OSError, EOFError or TimeoutError, and closes."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._exchange(request)
        except (OSError, EOFError):
            self.close()
            raise

    async def _exchange(self, request: bytes) -> LoadResponse:
        reader, writer = await self.open()
        writer.write(request)
        head = Head.parse(await reader.readuntil(HEAD_END))
        body = await reader.readexactly(head.length)
        if head.fields.get("connection", "").lower() == "close":
            self.close()
        return LoadResponse(int(head.line[1]), body, head.fields)

    def close(self) -> None:
        """Close."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None
