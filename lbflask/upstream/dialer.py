"""Opening connections to backends: over TCP, over TLS, or to a unix socket. All that goes wrong is a Fault at CONNECT.

TLS is verified unless the settings say otherwise. Its context is made when the first connection needs it, in the
worker: what gunicorn's master makes, gevent has not patched.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fcntl import ioctl
from functools import partial
from termios import FIONREAD
from typing import Any

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.model import Address
from lbflask.upstream.connection import NEVER, NetworkStream, UpstreamConnection
from lbflask.upstream.resolver import HostAddress, SystemResolver
from lbflask.upstream.shortage import resource_of, shortage

#: Seconds between two tries to reach a unix socket whose backlog is full: no event tells that there is room again.
_KNOCK_EVERY = 0.01
_NO_BYTES = bytes(4)


@dataclass(frozen=True, slots=True)
class TLSSettings:
    """How backends are spoken to over TLS. `ca_file` is empty for the system's roots, `certificate` and `key` for none
    of ours, `server_name` for the host of the backend.
    """

    verify: bool = True
    ca_file: str = ""
    certificate: str = ""
    key: str = ""
    server_name: str = ""

    def context(self) -> ssl.SSLContext:
        """Raises OSError for files that can't be loaded."""
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key)
        context.set_alpn_protocols(["http/1.1"])
        return context


class SocketStream:
    """A blocking socket as a wire."""

    __slots__ = ("close", "fileno", "recv", "send", "setblocking", "setsockopt", "shutdown")

    def __init__(self, sock: socket.socket) -> None:
        self.recv = sock.recv
        self.send = sock.send
        self.fileno = sock.fileno
        self.setblocking = sock.setblocking
        self.setsockopt = sock.setsockopt
        self.shutdown = sock.shutdown
        self.close = sock.close

    def silent(self) -> bool:
        """As of any wire: the system is asked, and does not tell of the end."""
        return ioctl(self.fileno(), FIONREAD, _NO_BYTES) == _NO_BYTES


class TLSSocketStream(SocketStream):
    """A socket under TLS. Ending a direction leaves TLS in place for the other, unlike `SSLSocket.shutdown`."""

    __slots__ = ("_pending",)

    def __init__(self, sock: ssl.SSLSocket) -> None:
        super().__init__(sock)
        self.shutdown = partial(socket.socket.shutdown, sock)
        self._pending = sock.pending

    def silent(self) -> bool:
        """As of any wire, of which TLS may hold some already. What has come need not be the peer's word."""
        return super().silent() and not self._pending()


class TLSConnection(UpstreamConnection):
    """A connection under TLS, whose socket also carries bytes that are no part of HTTP."""

    __slots__ = ("_tls",)

    def __init__(self, sock: ssl.SSLSocket, now: float) -> None:
        self._tls = sock
        super().__init__(TLSSocketStream(sock), now)

    def shake_hands(self, timeout: float) -> None:
        """Raises OSError; `expired` is then true if it took longer than `timeout` seconds."""
        self.expires = time.monotonic() + timeout
        self._tls.do_handshake()
        self.expires = NEVER

    def silent(self) -> bool:
        """As for any connection. What has come may be a session ticket: only then is it looked into."""
        return super().silent() or self.quiet()

    def quiet(self) -> bool:
        """As for any connection. TLS has no MSG_PEEK, but any byte that could be read would be one too many."""
        try:
            return self._receive_now(1) is None
        except OSError:
            return False

    def _receive_now(self, size: int) -> bytes | None:
        """As for any connection: what TLS gives, which need not be all that the socket has."""
        self._tls.setblocking(False)
        try:
            return self._tls.recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        finally:
            self._tls.setblocking(True)


class Dialer:
    """Opens connections, but none to a peer that is `forbidden`. Threads and greenlets may share it."""

    def __init__(
        self,
        tls: TLSSettings | None = None,
        forbidden: Callable[[Any], bool] | None = None,
        resolver: SystemResolver | None = None,
        network_stream: Callable[[socket.socket], NetworkStream] | None = None,
    ) -> None:
        self._tls = tls or TLSSettings()
        self._forbidden = forbidden
        self._resolver = resolver or SystemResolver()
        #: Makes a stream of a connected socket. The server may have a better one than the socket itself.
        self._network_stream = network_stream or blocking
        self._context: ssl.SSLContext | None = None

    def open(self, address: Address, timeout: float, now: float) -> UpstreamConnection:
        """A new connection, the lookup of its name and the handshake included, within `timeout` seconds.

        Raises Fault at stage CONNECT: a Shortage where this process lacks something.
        """
        until = time.monotonic() + timeout
        try:
            if address.scheme == "unix":
                sock = self._allowed(_to_path(address.path, until))
            else:
                sock = self._allowed(_to_host(self._addresses(address.host, timeout), address.port, until))
            if address.scheme != "https":
                return self._plain(sock, now)
        except TimeoutError:
            raise _fault(504, f"no connection within {timeout:g} s") from None
        except UnicodeError as error:  # of the name's encoding for DNS
            raise _fault(502, f"its name cannot be resolved: {error}") from None
        except (OSError, MemoryError) as error:
            raise shortage(error, Stage.CONNECT) or _fault(502, _told(error)) from None
        return self._secured(sock, address.host, timeout, until, now)

    def _allowed(self, sock: socket.socket) -> socket.socket:
        """The socket, if it may be used: what a name has come to mean is known only by now. Raises OSError."""
        try:
            if self._forbidden is not None and self._forbidden(sock.getpeername()):
                raise OSError("it is the admin listener")
        except OSError:
            sock.close()
            raise
        return sock

    def _addresses(self, host: str, timeout: float) -> Sequence[HostAddress]:
        try:
            return self._resolver.find(host, timeout)
        except TimeoutError:
            raise _fault(504, f"its name was not resolved within {timeout:g} s") from None

    def _plain(self, sock: socket.socket, now: float) -> UpstreamConnection:
        try:
            return UpstreamConnection(self._network_stream(sock), now)
        except BaseException:
            sock.close()
            raise

    def _secured(self, sock: socket.socket, host: str, timeout: float, until: float, now: float) -> UpstreamConnection:
        connection: TLSConnection | None = None
        held = sock
        try:
            if self._context is None:
                self._context = self._make_context()
            name = self._tls.server_name or host
            name.encode("idna")  # a name without a form would make wrap_socket fail, and leave the socket open
            # Do not take a cut for an end: a body may last until the close, which TLS has a word for (RFC 9112 §9.8).
            held = secured = self._context.wrap_socket(
                sock,
                server_hostname=name,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
            )
            secured.setblocking(True)
            connection = TLSConnection(secured, now)
            connection.shake_hands(until - time.monotonic())
        except BaseException as error:
            if connection is not None:
                connection.close()
            held.close()
            if not isinstance(error, (OSError, ValueError, MemoryError)):
                raise
            if connection is not None and connection.expired:
                raise _fault(504, f"no TLS handshake within {timeout:g} s") from None
            raise shortage(error, Stage.CONNECT) or _refused(error) from None
        return connection

    def _make_context(self) -> ssl.SSLContext:
        try:
            return self._tls.context()
        except OSError as error:
            reason = f"the files of backend_tls cannot be loaded: {_told(error)}"
            raise shortage(error, Stage.CONNECT) or Fault(Blame.SELF, Stage.CONNECT, 502, reason) from None


def blocking(sock: socket.socket) -> SocketStream:
    """The socket, which blocks the caller for as long as it takes: the watchdog ends what lasts too long."""
    sock.setblocking(True)
    return SocketStream(sock)


def _to_host(addresses: Sequence[HostAddress], port: int, until: float) -> socket.socket:
    """A connection to the first address that takes one; each gets an equal share of the time that is left.

    Raises OSError: rather what a peer has done than what this process lacks, so that a dead backend is noticed.
    """
    errors: list[OSError] = []
    for number, address in enumerate(addresses):
        share = (until - time.monotonic()) / (len(addresses) - number)
        if share <= 0:
            errors.append(TimeoutError())
            break
        try:
            return _to_address(address, port, share)
        except OSError as error:
            errors.append(error)
    raise next((error for error in errors if resource_of(error) is None), errors[0])


def _to_address(address: HostAddress, port: int, timeout: float) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(address.at(port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _to_path(path: str, deadline: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        while True:
            try:
                sock.connect(path)
            except BlockingIOError:  # connect(2): the backlog is full
                if time.monotonic() >= deadline:
                    raise TimeoutError from None
                time.sleep(_KNOCK_EVERY)
            else:
                return sock
    except BaseException:
        sock.close()
        raise


def _fault(status: int, reason: str) -> Fault:
    return Fault(Blame.BACKEND, Stage.CONNECT, status, reason)


def _refused(error: Exception) -> Fault:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _fault(502, f"its certificate is not accepted: {error.verify_message.rstrip('.')}")
    return _fault(502, f"the TLS handshake failed: {_told(error)}")


def _told(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return f"its name cannot be resolved: {error.strerror}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
