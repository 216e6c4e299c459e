"""A small authentication service, as oauth2-proxy and Authelia are: sessions by a cookie, a login page, fields of the
user, and the keys of tokens. It runs in threads of the test, and can be made to fail.
"""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from devtools.ports import free_port

SESSIONS = {"s3cret": "alice", "other": "bob"}


class AuthService:
    """Serves `/check`, `/login` and `/keys` for the length of a `with` block. Threads count what is asked."""

    def __init__(self) -> None:
        self.port = free_port()
        self.asked: list[tuple[str, dict[str, str]]] = []  #: path and fields of each request
        self.failure = ""  #: "status", "hang", "large" or "" for none
        self.cache_control = ""
        self.sets_cookie = False
        self.keys: list[dict[str, Any]] = []
        self.connections: list[socket.socket] = []
        self._release = threading.Event()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                service.connections.append(self.connection)

            def do_GET(self) -> None:
                service.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._release.clear()
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        server, self._server = self._server, None
        self._release.set()
        if server is not None:
            server.shutdown()
            server.server_close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append((handler.path, dict(handler.headers.items())))
        if self.failure == "hang":
            self._release.wait(60)
            handler.close_connection = True
            return
        if self.failure == "status":
            respond(handler, 500, {}, b"Remote-User: root")
        elif handler.path == "/keys":
            respond(handler, 200, {"Content-Type": "application/json"}, json.dumps({"keys": self.keys}).encode())
        else:
            self.check(handler)

    def check(self, handler: BaseHTTPRequestHandler) -> None:
        """As the forward authentication of Traefik expects it."""
        user = SESSIONS.get(handler.headers.get("Cookie", "").partition("session=")[2].partition(";")[0])
        place = f"https://{handler.headers['X-Forwarded-Host']}{handler.headers['X-Forwarded-Uri']}"
        if self.failure == "large":
            respond(handler, 401, {}, b"x" * (2 << 20))
        elif user is None and "application/json" in handler.headers.get("Accept", ""):
            respond(handler, 401, {"Content-Type": "application/json"}, b'{"login": "needed"}')
        elif user is None:
            cookie = {"Location": f"https://login.example/?rd={place}", "Set-Cookie": "csrf=1; Secure"}
            respond(handler, 302, cookie, b"<a href=login>log in</a>")
        elif user == "bob" and handler.headers["X-Forwarded-Uri"].startswith("/secret"):
            respond(handler, 403, {}, b"bob may not")
        else:
            fields = {"Remote-User": user, "Remote-Groups": "staff,dev", "X-Internal": "not for backends"}
            fields |= {"Cache-Control": self.cache_control} if self.cache_control else {}
            fields |= {"Set-Cookie": "session=renewed"} if self.sets_cookie else {}
            respond(handler, 202, fields, b"welcome")


def respond(handler: BaseHTTPRequestHandler, status: int, fields: dict[str, str], body: bytes) -> None:
    handler.send_response(status)
    for name, value in fields.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
