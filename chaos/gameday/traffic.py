"""Traffic of a game day: clients under TLS, and those that misbehave. All of it ends with its block."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from devtools.certificates import Authority
from devtools.environment import HOST

#: Seconds between two clients, for an answer, and for a handshake.
PAUSE, PATIENCE, SHORT = 0.2, 10.0, 2.0


class Clients:
    """Clients of an instance under TLS, which trust one authority."""

    def __init__(self, port: int, authority: Authority) -> None:
        self._port = port
        self._context = authority.trust()

    @contextmanager
    def visiting(self) -> Iterator[None]:
        """Clients, one after another, each with a connection of its own; failures are theirs."""

        def visit() -> None:
            client = self._connection()
            try:
                client.request("GET", "/")
                client.getresponse().read()
            finally:
                client.close()

        with _repeating(visit, PAUSE):
            yield

    @contextmanager
    def flood(self, path: str, rate: float, source: str = HOST) -> Iterator[None]:
        """So many requests per second from one address, one after another on one connection."""
        held: list[http.client.HTTPSConnection] = []

        def request() -> None:
            if not held:
                held.append(self._connection(source))
            try:
                held[0].request("GET", path)
                held[0].getresponse().read()
            except (OSError, http.client.HTTPException):
                held.pop().close()

        try:
            with _repeating(request, 1 / rate):
                yield
        finally:
            for connection in held:
                connection.close()

    @contextmanager
    def holding(self, head: str, count: int) -> Iterator[list[ssl.SSLSocket]]:
        """So many connections, each with this beginning of a request, which stay open; as many as are accepted."""
        opened: list[ssl.SSLSocket] = []
        try:
            with suppress(OSError):
                for _ in range(count):
                    plain = socket.create_connection((HOST, self._port), timeout=SHORT)
                    opened.append(self._context.wrap_socket(plain, server_hostname=HOST))
                    opened[-1].sendall(head.encode())
            yield opened
        finally:
            for connection in opened:
                connection.close()

    @contextmanager
    def dripping(self, count: int) -> Iterator[None]:
        """So many uploads of which a byte arrives each second."""
        head = f"POST /upload HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000\r\n\r\n"
        with self.holding(head, count) as uploads:

            def drip() -> None:
                for upload in uploads:
                    with suppress(OSError):
                        upload.sendall(b".")

            with _repeating(drip, 1.0):
                yield

    def _connection(self, source: str = HOST) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            HOST, self._port, timeout=PATIENCE, source_address=(source, 0), context=self._context
        )


@contextmanager
def _repeating(action: Callable[[], None], pause: float) -> Iterator[None]:
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(pause):
            with suppress(OSError, ssl.SSLError, http.client.HTTPException):
                action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE)
