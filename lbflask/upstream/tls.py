"""TLS to backends: the settings, and a connection over TLS.

TLS is verified unless the settings say otherwise. The context is made when the first connection needs it, in the
worker: gevent does not patch what the gunicorn master makes.
"""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from functools import partial

from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.socket_stream import SocketStream
from lbflask.upstream.stream import NEVER
from lbflask.upstream.tls_sessions import TLSSessions


@dataclass(frozen=True, slots=True)
class TLSSettings:
    """TLS settings for connections to backends. An empty `ca_file` means the roots of the system, an empty
    `certificate` no client certificate, an empty `server_name` the host of the backend.
    """

    verify: bool = True
    ca_file: str = ""
    certificate: str = ""
    key: str = ""
    server_name: str = ""

    def context(self) -> ssl.SSLContext:
        """A context with these settings. Raises OSError for files that cannot be loaded."""
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key)
        context.set_alpn_protocols(["http/1.1"])
        return context


class TLSSocketStream(SocketStream):
    """A TLS socket as a network stream. `shutdown` of one direction keeps TLS in the other, unlike SSLSocket."""

    __slots__ = ("_pending",)

    def __init__(self, sock: ssl.SSLSocket) -> None:
        super().__init__(sock)
        self.shutdown = partial(socket.socket.shutdown, sock)
        self._pending = sock.pending

    def silent(self) -> bool:
        """See NetworkStream. TLS may have buffered bytes; bytes of the socket need not be application data."""
        return super().silent() and not self._pending()


class TLSConnection(UpstreamConnection):
    """A connection over TLS, whose socket also carries bytes that are no part of HTTP.

    Its session goes to `sessions`, for the next connection to `origin`; `offered` is the one that it has been offered.
    """

    __slots__ = ("_established", "_offered", "_sessions", "_tls")

    def __init__(
        self,
        sock: ssl.SSLSocket,
        now: float,
        origin: str = "",
        sessions: TLSSessions | None = None,
        offered: ssl.SSLSession | None = None,
    ) -> None:
        self._tls = sock
        self._sessions = sessions  # None once the session was kept
        self._offered = offered
        self._established = False  # a session whose handshake has failed is not kept
        super().__init__(TLSSocketStream(sock), now, origin)

    def do_handshake(self, timeout: float) -> None:
        """Raises OSError; `timed_out` is then true if the handshake took longer than `timeout` seconds."""
        self.receive_deadline = time.monotonic() + timeout
        self._tls.do_handshake()
        self._established = True
        self.receive_deadline = NEVER

    def close(self) -> None:
        """See UpstreamConnection."""
        self._keep_session()
        super().close()

    def _keep_session(self) -> None:
        """Keep the session, once, unless it is the one that was offered: with TLS 1.3 it can be resumed only by a new
        ticket, which arrives after the handshake (RFC 8446 §4.6.1).
        """
        if self._sessions is None or not self._established:
            return
        session = self._tls.session
        if session is None or not session.id:
            return
        is_new = session.has_ticket and (self._offered is None or session.id != self._offered.id)
        if is_new or self._tls.version() == "TLSv1.2":
            self._sessions.keep(self.origin, session)
            self._sessions = self._offered = None

    def _keep_session_early(self) -> None:
        """Keep it before the second request, so that other connections need not wait for the end of this one."""
        if self.exchanges == 1:
            self._keep_session()

    def is_silent(self) -> bool:
        """See UpstreamConnection. The bytes of the socket may be a session ticket: only then is TLS asked."""
        self._keep_session_early()
        return super().is_silent() or self.is_alive()

    def is_alive(self) -> bool:
        """See UpstreamConnection. TLS has no MSG_PEEK, but a byte that can be read makes the connection unusable."""
        self._keep_session_early()
        try:
            return self._receive_now(1) is None
        except OSError:
            return False

    def _receive_now(self, size: int) -> bytes | None:
        """See UpstreamConnection. TLS may return less than the socket has."""
        self._tls.setblocking(False)
        try:
            return self._tls.recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        finally:
            self._tls.setblocking(True)
