"""A request as a client sent it: parsed and checked by gunicorn, with its header fields kept as they came."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import gunicorn_h1c
from gunicorn.http import errors
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.message import Request
from gunicorn.util import unquote_to_wsgi_str

if TYPE_CHECKING:
    from lbflask.worker.client import Client, DeadlineReader

_TARGET_INVALID = re.compile(r"[^\x21-\x7e]")


class ClientRequest(Request):  # type: ignore[misc]
    """gunicorn's request, that also keeps the header fields as they came.

    `fields` are pairs in order, with case and repeats. Fields whose names hold an underscore are dropped, since WSGI
    could not tell them from those with a hyphen. No peer may set the scheme or the script name: whom to believe is
    decided by `trusted_proxies`.
    """

    fields: list[tuple[str, str]]

    def __init__(self, settings: Any, reader: DeadlineReader, addr: Any, number: int) -> None:
        self.fields = []
        if not settings.lean:
            super().__init__(settings, reader, addr, number)
            return
        # What gunicorn's own constructors come to, with what is the same for each request worked out once.
        self.__dict__.update(settings.constants)
        self.cfg, self.unreader, self.req_number = settings, reader, number
        self.peer_addr = self.remote_addr = addr
        self.headers: list[tuple[str, str]] = []
        self.trailers: list[tuple[str, str]] = []
        rest = self._parse_fast(reader, bytearray(reader.take_buffered()))
        if rest:
            reader.unread(rest)
        self.set_body_reader()

    def set_body_reader(self) -> None:
        """A request without a field that speaks of a body has none (RFC 9112 §6.3)."""
        for name, _ in self.headers:
            if name in ("CONTENT-LENGTH", "TRANSFER-ENCODING"):
                super().set_body_reader()
                return
        self.body = Body(LengthReader(self.unreader, 0))

    def _peer_trusted_for_forwarded(self) -> tuple[dict[str, str], list[str]]:
        return {}, []

    def parse_headers(self, data: bytes, from_trailer: bool = False) -> list[tuple[str, str]]:
        """Gunicorn's own parser, in Python."""
        parsed: list[tuple[str, str]] = super().parse_headers(data, from_trailer)
        names = (line.partition(b":")[0].decode("latin-1") for line in data.split(b"\r\n"))
        kept = [name for name in names if "_" not in name]
        as_sent = [(name, value) for name, (_, value) in zip(kept, parsed, strict=True)]
        if from_trailer:
            return as_sent
        self.fields = as_sent
        return parsed

    def _parse_fast(self, unreader: DeadlineReader, buf: bytearray) -> bytes:
        """The parser in C, asked directly; what it refuses is left to gunicorn to name."""
        settings = self.cfg
        while buf == b"\r":
            self.read_into(unreader, buf)
        if buf[:2] == b"\r\n":
            del buf[:2]  # RFC 9112 §2.2: one empty line before a request is passed over
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
        self.method = head["method"].decode("ascii")
        self.uri = head["path"].decode("latin-1")
        if not self.uri or _TARGET_INVALID.search(self.uri):
            raise errors.InvalidRequestLine(self.uri)
        path, _, self.query = self.uri.partition("?")
        self.path = path
        self.version = (1, head["minor_version"])
        self._take_fields(head["headers"])
        return data[head["consumed"] :]

    def _take_fields(self, received: list[tuple[bytes, bytes]]) -> None:
        fields, special = self.fields, self.headers
        seen: set[str] = set()
        for raw_name, raw_value in received:
            name = raw_name.decode("latin-1")
            if "_" in name:
                continue
            if not name:
                # How the parser tells that the line continues the one before, which only gunicorn's own one refuses.
                raise errors.ObsoleteFolding(raw_value.decode("latin-1"))
            value = raw_value.decode("latin-1")
            fields.append((name, value))
            known = _SPECIAL.get(name.lower())
            if known is not None:
                self._apply_header_policy(known, value, [False], seen, {}, [])
                special.append((known, value))

    def should_close(self) -> bool:
        """Whether the client wants, or its version implies, that the connection ends (RFC 9112 §9.3)."""
        if self.must_close or self.method == "CONNECT":
            return True
        options = {
            option.strip(" \t").lower()
            for name, value in self.headers
            if name == "CONNECTION"
            for option in value.split(",")
        }
        if "close" in options:
            return True
        return self.version < (1, 1) and "keep-alive" not in options

    def environ(self, client: Client) -> dict[str, Any]:
        """The request as WSGI wants it (PEP 3333),."""
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method,
            "RAW_URI": self.uri,
            "PATH_INFO": unquote_to_wsgi_str(self.path) if "%" in self.path else self.path,
            "QUERY_STRING": self.query,
            "SCRIPT_NAME": "",
            "SERVER_PROTOCOL": "HTTP/1.1" if self.version == (1, 1) else f"HTTP/{self.version[0]}.{self.version[1]}",
            "REMOTE_ADDR": client.peer,
            "REMOTE_PORT": client.peer_port,
            "wsgi.url_scheme": client.scheme,
            **client.environ,
        }
        for name, value in self.fields:
            key = _ENVIRON_KEYS.get(name)
            if key is None:
                key = _environ_key(name)
            if key in environ:
                value = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + value  # noqa: PLW2901
            environ[key] = value
        return environ


#: The fields that gunicorn's own checks look at, by the names it uses.
_SPECIAL = {
    name.lower(): name
    for name in ("CONTENT-LENGTH", "TRANSFER-ENCODING", "CONNECTION", "EXPECT", "HOST", "CONTENT-TYPE")
}
_ENVIRON_KEYS: dict[str, str] = {}


def _environ_key(name: str) -> str:
    key = name.upper().replace("-", "_")
    if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = "HTTP_" + key
    if len(_ENVIRON_KEYS) < 1024:
        _ENVIRON_KEYS[name] = key
    return key
