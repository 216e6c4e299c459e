"""The head of a client request, parsed and checked by gunicorn, with its header fields as received."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gunicorn.http import errors
from gunicorn.http.body import Body, ChunkedReader
from gunicorn.http.message import Request

from lbflask.server.worker.received_head import FOLDED, NAMES

with suppress(ImportError):  # the extra `fast`; gunicorn and `freeze` choose the parser in Python without it
    import gunicorn_h1c

if TYPE_CHECKING:
    from lbflask.server.worker.deadline_reader import DeadlineReader

_CR = 0x0D
#: Largest length of a body or of a chunk: many parsers keep it in a signed integer of 64 bits.
MAX_LENGTH = (1 << 63) - 1
_TARGET_INVALID = re.compile(r"[^\x21-\x7e]")


class _Chunks(ChunkedReader):  # type: ignore[misc]
    """gunicorn's reader of chunks, with a limit of their size."""

    def parse_chunk_size(self, unreader: DeadlineReader, data: bytes | None = None) -> tuple[int, bytes]:
        """The size of the next chunk, and the bytes of it that have arrived. Raises InvalidChunkSize."""
        size: int
        size, rest = super().parse_chunk_size(unreader, data)
        if size > MAX_LENGTH:
            raise errors.InvalidChunkSize(b"%x" % size)
        return size, rest


class ParsedRequest(Request):  # type: ignore[misc]
    """gunicorn's request with the header fields as received.

    `fields` keeps order, case and repeats. Fields with an underscore in their name are dropped, since WSGI cannot
    distinguish it from a hyphen. No peer may set the scheme or the script name; `trusted_proxies` decides about
    forwarded fields.
    """

    fields: list[tuple[str, str]]
    body: Body
    # Attributes that gunicorn's own constructor sets to the same value for most requests.
    must_close = False
    proxy_protocol_info: dict[str, Any] | None = None
    _expected_100_continue = False
    trailers: Sequence[tuple[str, str]] = ()

    def __init__(self, settings: Any, reader: DeadlineReader, addr: Any, number: int, data: bytes, head: Any) -> None:
        """`data` are the first bytes, and `head` what a parser has read there, None if that has failed."""
        self.fields = []
        if head is None and not settings.lean:
            reader.unread(data)
            super().__init__(settings, reader, addr, number)
            return
        self.cfg, self.unreader = settings, reader
        self.headers: list[tuple[str, str]] = []
        if head is None or data[0] == _CR:
            self.__dict__.update(settings.constants)
            self.req_number, self.peer_addr, self.remote_addr = number, addr, addr
            rest = self._parse_fast(reader, bytearray(data))
        else:
            self._set_head(head.method, head.path, head.minor_version, head.headers)
            rest = data[head.consumed :]
        if rest:
            reader.unread(rest)
        if self.headers:
            self.set_body_reader()

    @property
    def has_body(self) -> bool:
        """Whether a framing field announces a body (RFC 9112 §6.3)."""
        return self.__dict__.get("body") is not None

    def set_body_reader(self) -> None:
        """Set `body` if there is one. Raises as gunicorn does, and InvalidHeader for a length above MAX_LENGTH."""
        for name, _ in self.headers:
            if name in ("CONTENT-LENGTH", "TRANSFER-ENCODING"):
                self.__dict__.update(self.cfg.constants)  # which trailers need too
                super().set_body_reader()
                reader = self.body.reader
                if isinstance(reader, ChunkedReader):
                    self.body = Body(_Chunks(self, self.unreader))
                elif reader.length > MAX_LENGTH:
                    raise errors.InvalidHeader("CONTENT-LENGTH", req=self)
                return

    def _peer_trusted_for_forwarded(self) -> tuple[dict[str, str], list[str]]:
        return {}, []

    def parse_headers(self, data: bytes, from_trailer: bool = False) -> list[tuple[str, str]]:
        """As gunicorn's parser in Python, which also reads trailers."""
        parsed: list[tuple[str, str]] = super().parse_headers(data, from_trailer)
        names = (line.partition(b":")[0].decode("latin-1") for line in data.split(b"\r\n"))
        kept = [name for name in names if "_" not in name]
        as_sent = [(name, value) for name, (_, value) in zip(kept, parsed, strict=True)]
        if from_trailer:
            return as_sent
        self.fields = as_sent
        return parsed

    def _parse_fast(self, unreader: DeadlineReader, buf: bytearray) -> bytes:
        """The incremental parser in C. For a request that it rejects, gunicorn's parser raises the specific error."""
        settings = self.cfg
        while buf == b"\r":
            self.read_into(unreader, buf)
        if buf[:2] == b"\r\n":
            del buf[:2]  # RFC 9112 §2.2: one empty line before a request is ignored
        data = bytes(buf)
        seen = 0
        while True:
            try:
                head = gunicorn_h1c.parse_request(
                    data,
                    last_len=seen,
                    limit_request_line=self._fast_limit_request_line,
                    limit_request_fields=self.limit_request_fields,
                    limit_request_field_size=self.limit_request_field_size,
                    permit_unconventional_http_method=settings.permit_unconventional_http_method,
                    permit_unconventional_http_version=settings.permit_unconventional_http_version,
                )
                break
            except gunicorn_h1c.IncompleteError:
                seen = len(data)
                if seen > self.max_buffer_headers + self._fast_limit_request_line:
                    raise errors.LimitRequestHeaders("max buffer headers") from None
                self.read_into(unreader, buf)
                data = bytes(buf)
            except gunicorn_h1c.ParseError:
                return bytes(super()._parse_fast(unreader, bytearray(data)))
        if data[:2] == b"\r\n":
            raise errors.InvalidRequestLine("two empty lines before the request line")
        self._set_head(head["method"], head["path"], head["minor_version"], head["headers"])
        return data[head["consumed"] :]

    def _set_head(self, method: bytes, target: bytes, minor_version: int, lines: Iterable[tuple[bytes, bytes]]) -> None:
        self.method = method.decode("ascii")
        self.uri = target.decode("latin-1")
        if not self.uri or _TARGET_INVALID.search(self.uri):
            raise errors.InvalidRequestLine(self.uri)
        self.version = (1, minor_version)
        fields, names = self.fields, NAMES
        for raw_name, raw_value in lines:
            name, canonical = names[raw_name]
            if canonical is None:
                fields.append((name, raw_value.decode("latin-1")))
            elif canonical:
                self._add_special_field(name, canonical, raw_value.decode("latin-1"))

    def _add_special_field(self, name: str, canonical: str, value: str) -> None:
        """Add a field after gunicorn's checks of it."""
        if canonical == FOLDED:
            raise errors.ObsoleteFolding(value)
        if canonical == "EXPECT" or (
            self.headers and canonical != "CONNECTION"
        ):  # the first, and Connection, may be anything
            self._apply_header_policy(canonical, value, [False], {seen for seen, _ in self.headers}, {}, [])
        self.fields.append((name, value))
        self.headers.append((canonical, value))

    def __repr__(self) -> str:
        path = self.uri.partition("?")[0]
        return f"<ParsedRequest {self.method} {path} fields={len(self.fields)} body={self.has_body}>"
