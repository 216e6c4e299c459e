"""Opens connections to backends: over TCP, over TLS, or to a unix socket. Every failure is a Fault at stage CONNECT."""

from __future__ import annotations

import math
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from lbflask.connection_causes import cause_of
from lbflask.core import x509
from lbflask.core.failure_causes import FailureCause
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.model import Address
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.oserror_text import oserror_text, tls_failure_text
from lbflask.upstream.resolver import HostAddress, SystemResolver
from lbflask.upstream.shortage import resource_of, shortage
from lbflask.upstream.socket_stream import blocking
from lbflask.upstream.stream import NetworkStream
from lbflask.upstream.tls import TLSConnection, TLSSettings
from lbflask.upstream.tls_sessions import TLSSessions

#: Seconds between two attempts to connect to a unix socket whose backlog is full: no event signals free room.
_CONNECT_INTERVAL = 0.01
#: Backends whose certificates are remembered.
MAX_EXPIRIES = 20_000


class _AdminListener(Exception):
    """The peer is the admin listener."""


class Dialer:
    """Opens connections, but none to a peer that is `forbidden`. Threads and greenlets may share it.

    `network_stream` makes the stream of a connected socket; a server may have a better one than `SocketStream`.
    `opening` are the first bytes of each connection, before those of TLS, unless `open` has others.
    `wall_clock` returns seconds since the epoch.
    """

    def __init__(
        self,
        tls: TLSSettings | None = None,
        forbidden: Callable[[Any], bool] | None = None,
        resolver: SystemResolver | None = None,
        network_stream: Callable[[socket.socket], NetworkStream] | None = None,
        wall_clock: Callable[[], float] = time.time,
        opening: bytes = b"",
    ) -> None:
        self._tls = tls or TLSSettings()
        self._forbidden = forbidden
        self._resolver = resolver or SystemResolver()
        self._network_stream = network_stream or blocking
        self._wall_clock = wall_clock
        self._opening = opening
        self._context: ssl.SSLContext | None = None
        self._sessions = TLSSessions()
        self._expiries: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<Dialer {self._tls}>"

    def open(self, address: Address, timeout: float, now: float, opening: bytes = b"") -> UpstreamConnection:
        """A new connection within `timeout` seconds, which include the lookup of the name and the TLS handshake.
        `opening` are its first bytes: a header of the PROXY protocol, which the socket takes at once.

        Raises Fault at stage CONNECT: a Shortage where this process lacks a resource.
        """
        until = time.monotonic() + timeout
        try:
            if address.path:
                sock = self._allowed(_connect_path(address.path, until))
            else:
                sock = self._allowed(_connect_host(self._addresses(address.host, timeout), address.port, until))
            if opening or self._opening:
                _begin(sock, opening or self._opening)
            if address.scheme != "https":
                return self._plain(sock, address, now)
        except TimeoutError:
            raise _fault(504, f"no connection within {timeout:g} s", FailureCause.TIMED_OUT) from None
        except UnicodeError as error:  # of the name's encoding for DNS
            raise _fault(502, f"its name cannot be resolved: {error}", FailureCause.NAME) from None
        except _AdminListener as error:
            raise _fault(502, str(error), FailureCause.ADMIN_LISTENER) from None
        except (OSError, MemoryError) as error:
            raise shortage(error, Stage.CONNECT) or _fault(502, oserror_text(error), cause_of(error)) from None
        return self._secured(sock, address, timeout, until, now)

    def certificate_expiry(self, address: Address) -> float | None:
        """When the certificate expires that the backend presented last, in seconds since the epoch; None if unknown."""
        return self._expiries.get(_origin(address))

    def _allowed(self, sock: socket.socket) -> socket.socket:
        """The socket, if its peer is allowed, which is known only after the lookup of the name. Raises OSError."""
        try:
            if self._forbidden is not None and self._forbidden(sock.getpeername()):
                raise _AdminListener("it is the admin listener")
        except (OSError, _AdminListener):
            sock.close()
            raise
        return sock

    def _addresses(self, host: str, timeout: float) -> Sequence[HostAddress]:
        try:
            return self._resolver.find(host, timeout)
        except TimeoutError:
            raise _fault(504, f"its name was not resolved within {timeout:g} s", FailureCause.NAME_SERVER) from None

    def _plain(self, sock: socket.socket, address: Address, now: float) -> UpstreamConnection:
        try:
            return UpstreamConnection(self._network_stream(sock), now, _origin(address))
        except BaseException:
            sock.close()
            raise

    def _secured(
        self, sock: socket.socket, address: Address, timeout: float, until: float, now: float
    ) -> UpstreamConnection:
        connection: TLSConnection | None = None
        to_close = sock
        try:
            if self._context is None:
                self._context = self._make_context()
            name = self._tls.server_name or address.host
            name.encode("idna")  # wrap_socket fails for an invalid name, and leaves the socket open
            # A cut is no end: a body may last until the close, which TLS announces by close_notify (RFC 9112 §9.8).
            origin = _origin(address)
            session = self._session(origin)
            to_close = secured = self._context.wrap_socket(
                sock,
                server_hostname=name,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
                session=session,
            )
            secured.setblocking(True)
            connection = TLSConnection(secured, now, origin, self._sessions, session)
            connection.do_handshake(until - time.monotonic())
            self._note_expiry(origin, secured)
        except BaseException as error:
            if connection is not None:
                connection.close()
            to_close.close()
            if not isinstance(error, (OSError, ValueError, MemoryError)):
                raise
            if connection is not None and connection.timed_out:
                raise _fault(504, f"no TLS handshake within {timeout:g} s", FailureCause.TLS) from None
            raise shortage(error, Stage.CONNECT) or _fault(502, tls_failure_text(error), cause_of(error)) from None
        return connection

    def _session(self, origin: str) -> ssl.SSLSession | None:
        """A session to resume; None once the certificate of the backend has expired. A resumed handshake verifies no
        certificate, and yields the next session: the connections of a backend would never notice.
        """
        session = self._sessions.take(origin)
        return session if self._wall_clock() < self._expiries.get(origin, math.inf) else None

    def _note_expiry(self, origin: str, secured: ssl.SSLSocket) -> None:
        if len(self._expiries) >= MAX_EXPIRIES and origin not in self._expiries:
            self._expiries.clear()
        with suppress(ValueError):
            self._expiries[origin] = x509.expiry(secured.getpeercert(binary_form=True) or b"")

    def _make_context(self) -> ssl.SSLContext:
        try:
            return self._tls.context()
        except OSError as error:
            reason = f"the files of backend_tls cannot be loaded: {oserror_text(error)}"
            fault = Fault(Blame.SELF, Stage.CONNECT, 502, reason, failure=FailureCause.TLS_FILES)
            raise shortage(error, Stage.CONNECT) or fault from None


def _origin(address: Address) -> str:
    return f"{address.scheme}:{address.path}" if address.path else f"{address.scheme}://{address.host}:{address.port}"


def _connect_host(addresses: Sequence[HostAddress], port: int, until: float) -> socket.socket:
    """A connection to the first address that accepts one; each gets an equal share of the remaining time.

    Raises OSError: the failure of a peer rather than a shortage of this process, so that a dead backend is noticed.
    """
    errors: list[OSError] = []
    for number, address in enumerate(addresses):
        share = (until - time.monotonic()) / (len(addresses) - number)
        if share <= 0:
            errors.append(TimeoutError())
            break
        try:
            return _connect_address(address, port, share)
        except OSError as error:
            errors.append(error)
    raise next((error for error in errors if resource_of(error) is None), errors[0])


def _connect_address(address: HostAddress, port: int, timeout: float) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(address.at(port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _begin(sock: socket.socket, opening: bytes) -> None:
    """Send the first bytes. Raises OSError, and closes the socket."""
    try:
        sock.sendall(opening)
    except BaseException:
        sock.close()
        raise


def _connect_path(path: str, deadline: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        while True:
            try:
                sock.connect(path)
            except BlockingIOError:  # connect(2): the backlog is full
                if time.monotonic() >= deadline:
                    raise TimeoutError from None
                time.sleep(_CONNECT_INTERVAL)
            else:
                return sock
    except BaseException:
        sock.close()
        raise


def _fault(status: int, reason: str, cause: FailureCause) -> Fault:
    return Fault(Blame.BACKEND, Stage.CONNECT, status, reason, failure=cause)
