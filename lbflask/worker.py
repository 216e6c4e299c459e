"""The gunicorn worker: gunicorn's gevent worker with a connection loop made for proxying.

The only file that knows gunicorn's insides. It keeps gunicorn's parsers and their refusals, and replaces the loop
around them: settings are read once per worker, a head must arrive within one deadline, header fields keep their order,
case and repeats, `100 Continue` is sent when the body is wanted, head and first piece leave together, and a response
that breaks off is cut, not ended. Any WSGI application runs on it.
"""

from __future__ import annotations

import gc
import math
import re
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from types import SimpleNamespace
from typing import Any

import gevent
import gunicorn_h1c
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.http import errors
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.message import Request, _check_fast_parser
from gunicorn.http.unreader import SocketUnreader
from gunicorn.http.wsgi import base_environ
from gunicorn.sock import ssl_context
from gunicorn.util import close_graceful, unquote_to_wsgi_str
from gunicorn.workers.ggevent import GeventWorker

#: Seconds that a client's idle connection stays open while the worker stops: a request that is on its way right then
#: is still answered, and told to close (RFC 9112 §9.5 knows no better way).
FAREWELL = 1.0
#: Seconds between two looks at how long clients have been waited for: time-outs are late by no more than this.
LOOK_EVERY = 0.05
NEVER = math.inf

_TARGET_INVALID = re.compile(r"[^\x21-\x7e]")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds a client gets: for a request head, and between two bytes of a body either way."""

    head: float = 10.0
    body: float = 30.0


class ProxyWorker(GeventWorker):  # type: ignore[misc]
    """See the module. `patience` may be set before the first connection, as by the `post_worker_init` hook."""

    patience = Patience()
    alive: bool

    def run(self) -> None:
        """Serve until told to stop; then finish what is in flight, within `graceful_timeout`."""
        self._frozen = _freeze(self.cfg)
        self._environ = base_environ(self.cfg) | {"wsgi.multithread": True}
        self._clients: set[_Client] = set()
        self._pool = Pool(self.worker_connections)
        # What is loaded now stays: looking through it for garbage again and again would only make requests wait.
        gc.collect()
        gc.freeze()
        servers = [self._serve(listener) for listener in self.sockets]
        beat = time.monotonic()
        while self.alive:
            if time.monotonic() >= beat:
                self.notify()
                beat = time.monotonic() + 1.0
            self._end_long_waits()
            gevent.sleep(LOOK_EVERY)
        for server in servers:
            server.close()
        self._wind_down(time.monotonic())

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGQUIT ends at once. SIGINT is left to the master, which ends all in order: a terminal's Ctrl-C reaches
        every process of the group.
        """
        if sig != signal.SIGINT:
            super().handle_quit(sig, frame)

    def _serve(self, listener: Any) -> StreamServer:
        listener.setblocking(1)
        tls = {"ssl_context": ssl_context(self.cfg)} if self.cfg.is_ssl else {}
        server = StreamServer(listener, handle=partial(self.handle, listener), spawn=self._pool, **tls)
        if self.cfg.workers > 1:
            server.max_accept = 1  # one at a time, so that all workers get their share
        server.start()
        return server

    def _end_long_waits(self) -> None:
        """A timer for every wait would cost more than most waits do; this looks at all of them, now and then."""
        now = time.monotonic()
        for client in tuple(self._clients):
            if client.reader.expires <= now:
                client.expire()

    def _wind_down(self, began: float) -> None:
        """Wait for the clients: idle ones for a moment, busy ones as long as the time-out allows."""
        limit = max(0.0, self.cfg.graceful_timeout - 0.5)  # before the master's own patience ends
        while self._clients and time.monotonic() - began < limit:
            if time.monotonic() - began > FAREWELL:
                for client in list(self._clients):
                    if client.idle:
                        client.hang_up()
            self.notify()
            self._end_long_waits()
            gevent.sleep(0.02)
        if self._clients:
            self.log.warning("%d connections were cut: graceful_timeout is over", len(self._clients))
            self._pool.kill(block=True, timeout=1)

    def handle(self, listener: Any, sock: Any, addr: Any) -> None:  # noqa: ARG002 - gunicorn's signature
        """One client connection, from accept to close."""
        client = _Client(sock, addr, self.patience)
        self._clients.add(client)
        try:
            self._converse(client)
        except (OSError, gevent.GreenletExit):
            client.abort()
        except Exception:
            self.log.exception("error on a client's connection")
            client.abort()
        finally:
            self._clients.discard(client)
            client.close()

    def _converse(self, client: _Client) -> None:
        """Requests and responses in turn, until either side closes."""
        while client.await_request(self.cfg_keepalive if client.served else self.patience.head):
            try:
                request = ClientRequest(self._frozen, client.reader, client.addr, client.served + 1)
            except (errors.NoMoreData, StopIteration):
                return
            except (errors.ParseException, errors.ForbiddenProxyRequest, TimeoutError) as error:
                self._turn_away(client, error)
                return
            client.begin(request)
            self._count()
            if not self._respond(client, request):
                return

    @property
    def cfg_keepalive(self) -> float:
        """Seconds a client may be idle between two requests."""
        return float(self._frozen.keepalive)

    def _count(self) -> None:
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False

    def _respond(self, client: _Client, request: ClientRequest) -> bool:
        """Run the application and write what it says. Whether the connection may carry another request."""
        body = RequestBody(request, client)
        environ = self._environ | request.environ(client)
        environ["wsgi.input"] = request.body
        environ["lbflask.read_body"] = body.read
        response = Response(client.send, request, body)
        if not self.alive or not self._frozen.keepalive:
            response.closes = True
        result: Iterable[bytes] = ()
        try:
            result = self.wsgi(environ, response.start_response)
            response.write_all(result)
        except (OSError, ShortResponse):
            client.abort()
            return False
        except Exception:
            self.log.exception("Error handling request %s %s", request.method, request.uri)
            if response.head_sent:
                client.abort()
            else:
                client.say(500, "Internal Server Error", "the balancer failed; its error log has the details")
            return False
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()
        if response.closes:
            client.leave(drain=not body.complete)
            return False
        return True

    def _turn_away(self, client: _Client, error: Exception) -> None:
        """Answer a head that is refused, and close: where the next one would start is unknown."""
        status, reason = next(
            (answer for kind, answer in _REFUSALS.items() if isinstance(error, kind)), (400, "Bad Request")
        )
        told = "the request head did not arrive in time" if status == 408 else str(error)
        self.log.info("refused a request from %s: %d %r", client.peer, status, told)
        client.say(status, reason, told)
        client.leave(drain=True)


#: What a refused request head is answered with; 400 for all others.
_REFUSALS: dict[type[Exception], tuple[int, str]] = {
    TimeoutError: (408, "Request Timeout"),
    errors.LimitRequestLine: (414, "URI Too Long"),
    errors.LimitRequestHeaders: (431, "Request Header Fields Too Large"),
    errors.ExpectationFailed: (417, "Expectation Failed"),
    errors.UnsupportedTransferCoding: (501, "Not Implemented"),
    errors.ForbiddenProxyRequest: (403, "Forbidden"),
}


class _Client:
    """A client's connection."""

    def __init__(self, sock: Any, addr: Any, patience: Patience) -> None:
        self.sock = sock
        self.addr = addr
        self.patience = patience
        self.reader = DeadlineReader(sock)
        self.served = 0
        self.idle = True
        self.writing = False
        inet = isinstance(addr, tuple)
        self.peer: str = addr[0] if inet else ""
        self.peer_port = str(addr[1]) if inet else ""
        local = sock.getsockname()
        self.local = local[:2] if isinstance(local, tuple) else local
        if isinstance(local, tuple):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.environ = {
            "gunicorn.socket": sock,
            "lbflask.local": self.local,
            "SERVER_NAME": str(self.local[0]) if isinstance(local, tuple) else str(local),
            "SERVER_PORT": str(self.local[1]) if isinstance(local, tuple) else "",
        }

    def await_request(self, seconds: float) -> bool:
        """Wait for the first byte of a request; False when none comes. The head then has its deadline."""
        self.idle = True
        try:
            return self.reader.await_first(seconds, self.patience.head)
        except TimeoutError:
            return False
        finally:
            self.idle = False

    def begin(self, request: ClientRequest) -> None:
        """A request has been read: count it, and time its body by the byte from now on."""
        self.served += 1
        self.reader.patience = self.patience.body
        self.reader.expires = NEVER
        if request.proxy_protocol_info and request.proxy_protocol_info["client_addr"]:
            # Stands before the first request, and speaks for all of the connection.
            self.peer = request.proxy_protocol_info["client_addr"]
            self.peer_port = str(request.proxy_protocol_info["client_port"])

    def say(self, status: int, reason: str, told: str) -> None:
        """A short answer of the server's own, on a connection that is about to close."""
        body = f"{status} {reason}: {told}\n".encode("latin-1", "replace")
        head = (
            f"HTTP/1.1 {status} {reason}\r\nDate: {_http_date()}\r\nContent-Type: text/plain; charset=latin-1\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        with suppress(OSError):
            self.send(head.encode("latin-1") + body)

    def leave(self, *, drain: bool) -> None:
        """Close politely: with `drain`, only after the client had time to read (RFC 9112 §9.6)."""
        if drain:
            close_graceful(self.sock)

    def expire(self) -> None:
        """A wait for this client has lasted too long: end it, from outside. A read can still be answered."""
        self.reader.expired = True
        self.reader.expires = NEVER
        event = self.sock._write_event if self.writing else self.sock._read_event
        gevent.get_hub().cancel_wait(event, TimeoutError())

    def send(self, data: bytes) -> None:
        """Send all of it. Raises OSError, also when the client takes no byte of it for too long."""
        reader = self.reader
        reader.expires = time.monotonic() + self.patience.body
        self.writing = True
        sent = self.sock.send(data)
        if sent != len(data):
            rest = memoryview(data)[sent:]
            while rest:  # not sendall, which would not show that the client takes its time
                reader.expires = time.monotonic() + self.patience.body
                rest = rest[self.sock.send(rest) :]
        self.writing = False
        reader.expires = NEVER

    def hang_up(self) -> None:
        """End the wait for a request, from outside."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RD)

    def abort(self) -> None:
        """Close with a reset: a response that was cut must look cut, even one that lasts until the close."""
        with suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close."""
        with suppress(OSError):
            self.sock.close()


class DeadlineReader(SocketUnreader):  # type: ignore[misc]
    """gunicorn's reader with patience: a head has one deadline for all of it, a body one for each read.

    `expires` is until when the present wait for the client may last, read or write.
    """

    def __init__(self, sock: Any) -> None:
        super().__init__(sock, max_chunk=16_384)
        self.expires = NEVER
        self.expired = False
        self.patience: float | None = None

    def await_first(self, seconds: float, head: float) -> bool:
        """Wait until there is a byte to read, and give the rest of the head its deadline. False at the end."""
        now = time.monotonic()
        if not self.buf.tell():
            self.expires = now + seconds
            data = self.sock.recv(self.mxchunk)
            if not data:
                return False
            self.buf.write(data)
            now = time.monotonic()
        self.patience = None
        self.expires = now + head
        return True

    def chunk(self, size_hint: int | None = None) -> bytes:
        """The next bytes. Raises TimeoutError."""
        if self.patience is not None:
            self.expires = time.monotonic() + self.patience
        data: bytes = super().chunk(size_hint)
        if self.patience is not None:
            self.expires = NEVER
        if self.expired:
            raise TimeoutError  # what trickles in after that comes too late
        return data


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
        if not from_trailer:
            names = (line.partition(b":")[0].decode("latin-1") for line in data.split(b"\r\n"))
            kept = [name for name in names if "_" not in name]
            self.fields = [(name, value) for name, (_, value) in zip(kept, parsed, strict=True)]
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

    def environ(self, client: _Client) -> dict[str, Any]:
        """The request as WSGI wants it (PEP 3333), and `lbflask.fields` as it came."""
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method,
            "RAW_URI": self.uri,
            "PATH_INFO": unquote_to_wsgi_str(self.path) if "%" in self.path else self.path,
            "QUERY_STRING": self.query,
            "SCRIPT_NAME": "",
            "SERVER_PROTOCOL": "HTTP/1.1" if self.version == (1, 1) else f"HTTP/{self.version[0]}.{self.version[1]}",
            "REMOTE_ADDR": client.peer,
            "REMOTE_PORT": client.peer_port,
            "wsgi.url_scheme": self.scheme,
            "lbflask.fields": self.fields,
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


class RequestBody:
    """The body of a request, as it arrives. The client is told to go on when the first piece is asked for."""

    __slots__ = ("_client", "_request", "_told")

    def __init__(self, request: ClientRequest, client: _Client) -> None:
        self._request = request
        self._client = client
        self._told = not request._expected_100_continue

    @property
    def complete(self) -> bool:
        """Whether all of it was read, so that what follows is the next request."""
        reader = self._request.body.reader
        if isinstance(reader, LengthReader):
            return bool(reader.length == 0)
        return reader.parser is None

    def read(self) -> bytes:
        """The next piece as soon as there is one; empty at the end, or when the client has gone."""
        if self.complete:
            return b""
        if not self._told:
            self._told = True
            self._client.send(_CONTINUE)
        reader = self._request.body.reader
        return self._known_length(reader) if isinstance(reader, LengthReader) else self._next_chunk(reader)

    def _known_length(self, reader: Any) -> bytes:
        unreader = self._client.reader
        piece: bytes = unreader.read(None, read_ahead=reader.length)
        if len(piece) > reader.length:
            unreader.unread(piece[reader.length :])
            piece = piece[: reader.length]
        reader.length -= len(piece)
        return piece

    @staticmethod
    def _next_chunk(reader: Any) -> bytes:
        for piece in reader.parser:
            if piece:
                return bytes(piece)
        reader.parser = None
        return b""


class ShortResponse(Exception):
    """The application gave fewer bytes than its Content-Length."""


class Response:
    """Writes one response: frames it, dates it, and sends the head with the first piece."""

    __slots__ = (
        "_body",
        "_chunked",
        "_fields",
        "_left",
        "_omit",
        "_request",
        "_send",
        "closes",
        "head_sent",
        "status",
    )

    def __init__(self, send: Callable[[bytes], None], request: ClientRequest, body: RequestBody) -> None:
        self._send = send
        self._request = request
        self._body = body
        self._fields: list[tuple[str, str]] = []
        self._chunked = False
        self._omit = False
        self._left: int | None = None
        self.status = ""
        self.closes = request.should_close()
        self.head_sent = False

    def start_response(
        self, status: str, fields: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """PEP 3333."""
        if exc_info is not None and self.head_sent:
            raise exc_info[1].with_traceback(exc_info[2])
        if exc_info is None and self.status:
            raise AssertionError("start_response was called before")
        self.status, self._fields = status, fields
        return self.write

    def write_all(self, pieces: Iterable[bytes]) -> None:
        """Write the application's result, in one go when it is in one piece. Raises ShortResponse, OSError."""
        try:
            single = len(pieces) == 1  # type: ignore[arg-type]
        except TypeError:
            single = False
        if single:
            data = b"".join(pieces)
            head = self._head()
            self._send(head + self._framed(data) + self._end())
        else:
            for piece in pieces:
                self.write(piece)
            rest = (b"" if self.head_sent else self._head()) + self._end()
            if rest:
                self._send(rest)
        if self._left:
            raise ShortResponse

    def write(self, piece: bytes) -> None:
        """Write a piece of the body, after the head if that was not sent."""
        if self.head_sent:
            if piece and not self._omit:
                self._send(self._framed(piece))
        else:
            head = self._head()
            self._send(head + self._framed(piece) if piece else head)

    def _head(self) -> bytes:
        request, fields = self._request, self._fields
        code = self.status[:3]
        dated, lines = False, 1
        text = f"HTTP/1.1 {self.status}\r\n"
        self._omit = request.method == "HEAD" or code in ("204", "304") or code[0] == "1"
        for name, value in fields:
            size = len(name)
            if size == 14 and name.lower() == "content-length":
                if code == "204":
                    continue  # RFC 9110 §8.6
                self._left = int(value)
            elif size == 4 and name.lower() == "date":
                dated = True
            text += f"{name}: {value}\r\n"
            lines += 1
        if text.count("\n") != lines:
            raise ValueError(f"a header field of the response has a line break in it: {fields!r}")
        if not dated:
            text += f"Date: {_http_date()}\r\n"
        self.head_sent = True
        return (text + self._framing() + "\r\n").encode("latin-1")

    def _framing(self) -> str:
        """The fields that say where the body ends, and whether the connection does (RFC 9112 §6 and §9.3)."""
        old = self._request.version < (1, 1)
        text = ""
        if self._omit:
            self._left = None
        elif self._left is None:
            self._chunked = not old
            if old:
                self.closes = True
            else:
                text = "Transfer-Encoding: chunked\r\n"
        if not self._body.complete:
            self.closes = True  # the rest of the request stands where the next one would
        if self.closes:
            return text + "Connection: close\r\n"
        return text + ("Connection: keep-alive\r\n" if old else "")

    def _framed(self, piece: bytes) -> bytes:
        if self._omit or not piece:
            return b""
        if self._chunked:
            return b"%x\r\n%b\r\n" % (len(piece), piece)
        if self._left is not None:
            piece = piece[: self._left]
            self._left -= len(piece)
        return piece

    def _end(self) -> bytes:
        return b"0\r\n\r\n" if self._chunked else b""


def end_gracefully_on_interrupt(arbiter: Any) -> None:
    """Make the master treat the first SIGINT (Ctrl-C) like SIGTERM; the second one is gunicorn's quick shutdown."""

    def interrupted(_signal: int, _frame: Any) -> None:
        signal.signal(signal.SIGINT, arbiter.signal)
        arbiter.SIG_QUEUE.put_nowait(signal.SIGTERM)

    signal.signal(signal.SIGINT, interrupted)


def _freeze(cfg: Any) -> SimpleNamespace:
    """The settings as plain attributes: gunicorn's own object looks each one up anew, several times a request."""
    frozen = SimpleNamespace(**{name: setting.get() for name, setting in cfg.settings.items()})
    frozen.is_ssl = cfg.is_ssl
    # gunicorn takes some values of the limits to mean "none", and has two more things to do before it parses.
    limits = (frozen.limit_request_line, frozen.limit_request_fields, frozen.limit_request_field_size)
    frozen.lean = (
        frozen.http_parser == "fast"
        and frozen.proxy_protocol == "off"
        and all(0 < limit <= most for limit, most in zip(limits, (8190, 32_768, 1 << 20), strict=True))
    )
    _check_fast_parser(frozen)  # loads it
    frozen.constants = {
        "version": None,
        "body": None,
        "scheme": "https" if cfg.is_ssl else "http",
        "must_close": False,
        "proxy_protocol_info": None,
        "_expected_100_continue": False,
        "limit_request_fields": frozen.limit_request_fields,
        "limit_request_field_size": frozen.limit_request_field_size,
        "limit_request_line": frozen.limit_request_line,
        "_fast_limit_request_line": frozen.limit_request_line,
        "max_buffer_headers": frozen.limit_request_fields * (frozen.limit_request_field_size + 2) + 4,
    }
    frozen.forwarded_allow_networks = cfg.forwarded_allow_networks
    frozen.proxy_allow_networks = cfg.proxy_allow_networks
    return frozen


_date_second = 0
_date_text = ""


def _http_date() -> str:
    """The current date as a header field has it, formatted once a second (RFC 9110 §5.6.7)."""
    global _date_second, _date_text
    second = int(time.time())
    if second != _date_second:
        _date_second, _date_text = second, formatdate(second, usegmt=True)
    return _date_text
