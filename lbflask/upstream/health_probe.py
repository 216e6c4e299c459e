"""The probes of the health checker: from a backend to an observation; only a shortage of this process is an exception.

A probe ends at its time-out, whatever the backend does; it reads at most 256 KiB of a body, and releases everything at
its end. It is plain asyncio on sockets, so that one checker can probe 10,000 backends on a quarter of a core.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import cast

import httptools

from lbflask.connection_causes import cause_of
from lbflask.core import x509
from lbflask.core.checks import BODY_LIMIT, HealthCheck
from lbflask.core.failure_causes import FailureCause
from lbflask.core.faults import Stage
from lbflask.core.health import Observation
from lbflask.core.http.interim import InterimFilter
from lbflask.core.model import Backend
from lbflask.upstream.oserror_text import oserror_text, tls_failure_text
from lbflask.upstream.resolver import HostAddress, SystemResolver
from lbflask.upstream.response_reader import MAX_HEAD
from lbflask.upstream.shortage import resource_of, shortage
from lbflask.upstream.tls import TLSSettings

#: Bytes of a response, with the framing of its body.
MAX_RESPONSE = MAX_HEAD + 2 * BODY_LIMIT
#: Threads that search bodies.
_SEARCH_THREADS = 2
#: Seconds between two attempts to connect to a unix socket whose backlog is full.
_CONNECT_INTERVAL = 0.05
#: The steps until a backend is connected, in words for one that takes too long.
_NO_NAME, _NO_CONNECTION, _NO_HANDSHAKE = "its name was not resolved", "no connection", "no TLS handshake"
_LATE = {_NO_NAME: FailureCause.NAME_SERVER, _NO_CONNECTION: FailureCause.TIMED_OUT, _NO_HANDSHAKE: FailureCause.TLS}


class Prober:
    """Makes probes, over TLS with these settings. Probes of a `forbidden` peer, the admin listener, fail. `opening` are
    the first bytes of each connection to the port, or path, of a backend itself: a header of the PROXY protocol.
    """

    def __init__(
        self,
        tls: TLSSettings | None = None,
        resolver: SystemResolver | None = None,
        forbidden: Callable[[object], bool] = lambda _: False,
        opening: bytes = b"",
    ) -> None:
        self._tls = tls or TLSSettings()
        self._forbidden = forbidden
        self._opening = opening
        self._resolver = resolver or SystemResolver()
        #: Bodies are searched outside the event loop, which serves other probes meanwhile; the regular expression
        #: limits the time of a search.
        self._searches = ThreadPoolExecutor(_SEARCH_THREADS, "search")

    def __repr__(self) -> str:
        return f"<Prober {self._tls}>"

    async def __call__(self, backend: Backend, check: HealthCheck) -> Observation:
        """One probe, within the time-out of the check. Raises Shortage, which proves nothing about the backend."""
        target = check.target(backend)
        exchange = _Exchange(check, self._searches)
        timer = asyncio.get_running_loop().call_later(check.timeout, exchange.expire)
        try:
            async with asyncio.timeout(check.timeout):
                await self._open(target, exchange, self._opening if target.port == backend.port else b"")
            if check.kind == "tcp":
                return Observation(True, "connected")
            exchange.send(check.request(target))
            seen = await exchange.verdict
            is_same = backend.scheme == "https" and target.port == backend.port
            return replace(seen, expires=exchange.certificate_expires) if is_same else seen
        except _Unusable as error:
            return Observation(False, str(error), error.cause)
        except TimeoutError:
            return Observation(False, f"{exchange.missing} within {check.timeout:g} s", _LATE[exchange.missing])
        except (OSError, MemoryError) as error:
            if (lack := shortage(error, Stage.CONNECT)) is not None:
                raise lack from None
            return Observation(False, _failure_text(error), _failure_cause(error))
        except (ValueError, OverflowError) as error:
            # A name that is invalid in DNS (RFC 1035 §2.3.4), a port above 65535.
            return Observation(False, f"its address cannot be used: {error}", FailureCause.NAME)
        finally:
            timer.cancel()
            exchange.close()

    async def _open(self, target: Backend, exchange: _Exchange, opening: bytes) -> None:
        loop = asyncio.get_running_loop()
        if target.path:
            sock = self._allowed(await _connect_path(target.path), opening)
            await loop.create_unix_connection(lambda: exchange, sock=sock)
            return
        context = self._context if target.scheme == "https" and exchange.check.kind != "tcp" else None
        exchange.missing = _NO_NAME
        addresses = await self._resolver.find_async(target.host, exchange.check.timeout)
        exchange.missing = _NO_CONNECTION
        sock = self._allowed(await _connect_host(addresses, target.port, exchange.until), opening)
        try:
            plain, _ = await loop.create_connection(lambda: exchange, sock=sock)
        except BaseException:
            sock.close()
            raise
        if context is not None:
            exchange.missing = _NO_HANDSHAKE
            name = self._tls.server_name or target.host
            exchange.transport = await loop.start_tls(plain, exchange, context, server_hostname=name)

    def _allowed(self, sock: socket.socket, opening: bytes) -> socket.socket:
        """The socket, with the first bytes sent, which the system takes at once."""
        try:
            if self._forbidden(sock.getpeername()):
                raise _Unusable("it is the admin listener", FailureCause.ADMIN_LISTENER)
            if opening:
                sock.sendall(opening)
        except BaseException:
            sock.close()
            raise
        return sock

    @cached_property
    def _context(self) -> ssl.SSLContext:
        try:
            return self._tls.context()
        except OSError as error:
            if resource_of(error) is not None:
                raise
            reason = f"the files of backend_tls cannot be loaded: {oserror_text(error)}"
            raise _Unusable(reason, FailureCause.TLS_FILES) from None


class _Unusable(Exception):
    """The backend cannot be probed with these settings."""

    def __init__(self, reason: str, cause: FailureCause) -> None:
        super().__init__(reason)
        self.cause = cause


class _Exchange(asyncio.Protocol):
    """One request and its response. The head determines the verdict unless the check expects a body. The body is read
    to its end in either case, within the limits, so that the backend does not see its response cut off.
    """

    def __init__(self, check: HealthCheck, searches: Executor) -> None:
        self.check = check
        self.missing = _NO_CONNECTION  #: the step that is not complete
        self._searches = searches
        self._search: asyncio.Future[Observation] | None = None
        self.transport: asyncio.Transport | None = None
        loop = asyncio.get_running_loop()
        self.until = loop.time() + check.timeout
        self.verdict: asyncio.Future[Observation] = loop.create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._filter = InterimFilter(MAX_HEAD)
        self._lost = False
        self._status = 0
        self._framed = False
        self._body = bytearray()
        self._read = 0

    def __repr__(self) -> str:
        return f"<_Exchange {self.check.kind} status={self._status or '-'} missing={self.missing!r}>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See Protocol."""
        self.transport = cast("asyncio.Transport", transport)

    @property
    def certificate_expires(self) -> float:
        """When the certificate of the peer expires, in seconds since the epoch; 0 without one."""
        secured = None if self.transport is None else self.transport.get_extra_info("ssl_object")
        if secured is not None:
            with suppress(ValueError):
                return x509.expiry(secured.getpeercert(binary_form=True) or b"")
        return 0.0

    def send(self, request: bytes) -> None:
        """Send the request."""
        if self.transport is not None and not self._lost:
            self.transport.write(request)

    def expire(self) -> None:
        """End the probe at its time-out."""
        if self._search is not None:
            return  # the search has its own time limit
        if self._status and (self.check.expect_body is None or self._status not in self.check.expect_status):
            self._judge()
        elif self._status:
            self._fail(
                f"status {self._status}, but its body was not whole within {self.check.timeout:g} s", FailureCause.BODY
            )
        else:
            self._fail(f"no answer within {self.check.timeout:g} s", FailureCause.NO_ANSWER)

    def data_received(self, data: bytes) -> None:
        """See Protocol."""
        if self.verdict.done() or self._search is not None:
            return
        self._read += len(data)
        try:
            self._parser.feed_data(self._filter(data))
        except httptools.HttpParserUpgrade:
            self._decide(self.check.verdict_of_status(self._parser.get_status_code()))
        except httptools.HttpParserError as error:
            self._fail(f"its answer is not HTTP: {error}", FailureCause.PROTOCOL)
        if not self._status and self._read > MAX_HEAD:
            self._fail("the head of its answer is longer than 64 KiB", FailureCause.PROTOCOL)
        elif self._read > MAX_RESPONSE:
            self._judge()

    def connection_lost(self, error: Exception | None) -> None:
        """See Protocol."""
        self._lost = True
        lack = None if error is None else shortage(error, Stage.WAIT)
        if lack is not None:
            if not self.verdict.done():
                self.verdict.set_exception(lack)
        elif not self._status:
            closed = "it closed the connection without an answer", FailureCause.CLOSED
            self._fail(*(closed if error is None else (_failure_text(error), _failure_cause(error))))
        elif self.check.expect_body is not None and (self._framed or error is not None):
            self._fail(f"status {self._status}, but its body broke off", FailureCause.BODY)
        else:
            self._judge()

    def on_header(self, name: bytes, _: bytes) -> None:
        """Called by the parser."""
        self._framed = self._framed or name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        """Called by the parser; for informational responses too (RFC 9110 §15.2)."""
        status = self._parser.get_status_code()
        if status < 200:
            return
        self._status = status
        if self.check.method == "HEAD":
            self._judge()  # whatever its Content-Length

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self._body += data
        if len(self._body) >= BODY_LIMIT:
            self._judge()

    def on_message_complete(self) -> None:
        """Called by the parser; for informational responses too."""
        if self._status:
            self._judge()

    def close(self) -> None:
        """Release everything at once."""
        if not self.verdict.cancel() and not self.verdict.cancelled():
            self.verdict.exception()  # else asyncio logs it as never retrieved
        if self._search is not None:
            self._search.cancel()
        if self.transport is None:
            return
        if self.transport.get_extra_info("ssl_object") is None and not self.transport.get_write_buffer_size():
            self.transport.close()
        else:
            self.transport.abort()  # `close` would wait for the other side

    def _judge(self) -> None:
        observation = self.check.verdict_of_status(self._status)
        if not observation.ok or self.check.expect_body is None:
            self._decide(observation)
        elif self._search is None:
            loop, judge = asyncio.get_running_loop(), self.check.verdict_of_body
            self._search = loop.run_in_executor(self._searches, judge, self._status, bytes(self._body))
            self._search.add_done_callback(self._on_searched)

    def _on_searched(self, search: asyncio.Future[Observation]) -> None:
        if not search.cancelled():
            self._decide(search.result())

    def _fail(self, reason: str, cause: FailureCause) -> None:
        if self._search is None:
            self._decide(Observation(False, reason, cause))

    def _decide(self, observation: Observation) -> None:
        if not self.verdict.done():
            self.verdict.set_result(observation)


async def _connect_host(addresses: Sequence[HostAddress], port: int, until: float) -> socket.socket:
    """A connection to the first address that accepts one, each in its share of the time. Raises OSError."""
    loop, errors = asyncio.get_running_loop(), list[OSError]()
    for number, address in enumerate(addresses):
        share = (until - loop.time()) / (len(addresses) - number)
        try:
            async with asyncio.timeout(share):
                return await _connect_address(address, port)
        except OSError as error:
            errors.append(error)
    raise next((error for error in errors if resource_of(error) is None), errors[0])


async def _connect_address(address: HostAddress, port: int) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address.at(port))
    except BaseException:
        sock.close()
        raise
    return sock


async def _connect_path(path: str) -> socket.socket:
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.connect(path)
        except BlockingIOError:  # connect(2): the backlog is full
            sock.close()
            await asyncio.sleep(_CONNECT_INTERVAL)
        except BaseException:
            sock.close()
            raise
        else:
            return sock


def _failure_cause(error: Exception) -> FailureCause:
    if isinstance(error, ConnectionResetError) and not error.errno:
        return FailureCause.TLS
    return cause_of(error)


def _failure_text(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return tls_failure_text(error)
    if isinstance(error, ConnectionResetError) and not error.errno:
        return "it closed the connection during the TLS handshake"  # asyncio's error, without a reason
    return oserror_text(error)
