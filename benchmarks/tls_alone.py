"""The processor time of OpenSSL for the server's side of a handshake: in memory, without sockets, processes or HTTP."""

from __future__ import annotations

import ssl
import statistics
import time

from devtools.certificates import Authority, Pair

REPEAT = 300


class Side:
    """One side of a connection in memory. `seconds` is the processor time of its steps."""

    def __init__(self, context: ssl.SSLContext, *, server: bool, session: ssl.SSLSession | None = None) -> None:
        began = time.process_time()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server else "localhost"
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server, name, session)
        self.seconds = time.process_time() - began

    def step(self, received: bytes, *, established: bool = False) -> bytes:
        """Go on with these bytes. Returns what the other side gets."""
        began = time.process_time()
        self._incoming.write(received)
        try:
            if established:
                self.tls.read(1)
            else:
                self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        answer = self._outgoing.read()
        self.seconds += time.process_time() - began
        return answer


def handshake(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[float, Side]:
    """The seconds of the server, and the client's side, which has a ticket."""
    server = Side(server_context, server=True)
    client = Side(client_context, server=False, session=session)
    flight = server.step(client.step(b""))
    flight = server.step(client.step(flight))
    rest = client.step(flight)  # the end of the handshake of TLS 1.2; with TLS 1.3 it holds tickets, and is done
    if rest:
        server.step(rest)
    client.step(b"", established=True)
    return server.seconds, client


def microseconds(authority: Authority, pair: Pair) -> dict[str, float]:
    """The median for each version, full and resumed."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(pair.certificate, pair.key)
    found = {}
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        trust = authority.trust()
        trust.minimum_version = trust.maximum_version = version
        session: ssl.SSLSession | None = None
        for kind in ("full", "resumed"):
            spent = []
            for _ in range(REPEAT):
                seconds, client = handshake(server, trust, session)
                if client.tls.session_reused != (kind == "resumed"):
                    raise RuntimeError(f"{version.name}: the handshake was not {kind}")
                spent.append(seconds)
            session = client.tls.session
            found[f"{version.name.replace('TLSv1_', 'TLS 1.')}, {kind}"] = statistics.median(spent) * 1e6
    return found
