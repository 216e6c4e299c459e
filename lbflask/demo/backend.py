"""`python -m lbflask.demo.backend PORT…`: demo backends, one for each port.

`/` returns the port · `/slow?s=5` streams for five seconds · `/status/503` returns that status · `/echo` returns the
request line, the header fields and the body.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from lbflask.telemetry.standard_streams import open_standard_streams

#: Seconds that a response of `/slow` may last.
MAX_STREAM = 300.0


class DemoHandler(BaseHTTPRequestHandler):
    """Serves the paths that the module lists."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave together

    def handle_one_request(self) -> None:
        """Serve one request; all methods are treated alike."""
        self.raw_requestline = self.rfile.readline(65_537)
        if not self.raw_requestline:
            self.close_connection = True
            return
        if not self.parse_request():
            return
        self._serve()
        self.wfile.flush()

    def _serve(self) -> None:
        url, port, body = urlsplit(self.path), self._port, self._body()
        if url.path == "/slow":
            self._stream(url.query)
        elif url.path.startswith("/status/"):
            code = url.path.removeprefix("/status/")
            if code.isdigit() and 200 <= int(code) <= 599:
                self._respond(int(code), f"status {code} from backend {port}\n".encode())
            else:
                self._respond(400, b"a status from 200 to 599 is needed, as in /status/500\n")
        elif url.path == "/echo":
            head = f"{self.requestline}\n{self.headers}".encode("latin-1", "replace")
            self._respond(200, head + body)
        else:
            self._respond(200, f"hello from backend {port}\n".encode())

    @property
    def _port(self) -> int:
        return int(self.connection.getsockname()[1])

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline(64).split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline(3)
            while self.rfile.readline(65_537).strip():
                pass
            return body
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _respond(self, code: int, body: bytes) -> None:
        self._begin(code, {} if code in (204, 304) else {"Content-Length": str(len(body))})
        if self.command != "HEAD" and code not in (204, 304):
            self.wfile.write(body)

    def _begin(self, code: int, framing: Mapping[str, str]) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": "text/plain; charset=iso-8859-1", **framing}.items():
            self.send_header(name, value)
        self.end_headers()

    def _stream(self, query: str) -> None:
        """Send a chunk every tenth of a second, for the time that the query asks for."""
        try:
            seconds = min(MAX_STREAM, float(parse_qs(query).get("s", ["5"])[0]))
        except ValueError:
            self._respond(400, b"a number of seconds is needed, as in /slow?s=5\n")
            return
        self._begin(200, {"Transfer-Encoding": "chunked"})
        if self.command == "HEAD":
            return
        deadline = time.monotonic() + seconds
        chunks = 0
        while (remaining := deadline - time.monotonic()) > 0:
            time.sleep(min(0.1, remaining))
            chunks += 1
            chunk = f"piece {chunks} from backend {self._port}\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Log nothing: the access log of the balancer has more."""


class DemoServer(ThreadingHTTPServer):
    """A demo backend."""

    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors of a client that closes its connection."""
        if not isinstance(sys.exc_info()[1], (OSError, ValueError)):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def main(arguments: list[str]) -> None:
    """Serve on all ports until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m lbflask.demo.backend", description="Demo backends for a balancer.")
    parser.add_argument("ports", type=int, nargs="*", default=[8081, 8082, 8083])
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    open_standard_streams()
    options = parser.parse_args(arguments)
    servers = []
    for port in options.ports:
        try:
            servers.append(DemoServer((options.host, port), DemoHandler))
        except (OSError, OverflowError) as error:
            sys.exit(f"cannot listen on port {port}: {error}")
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.sigwait((signal.SIGTERM, signal.SIGINT))


if __name__ == "__main__":
    main(sys.argv[1:])
