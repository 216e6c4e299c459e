"""The examples of docs/examples: a configuration, the equivalent one of nginx, and requests that both serve alike.

`requests.toml` has `[files]`, the contents of files by path, and a `[[requests]]` table for each request:

    listener, method, host, target, fields, length (of a body), upgrade    what is sent
    tls, certificate, client    that TLS is sent where the listener has none, that the client has a certificate, and the
                                address that a header of the PROXY protocol states
    status, backend, passes     what both respond, which backend gets it (none unless named), and for which target
    sees, gets                  fields of the request to the backend, and of the response, that are the same in both
    same = false                nginx differs by design: only what the table states is compared

A status of 0 is a connection without a response. A backend responds by the field `Answer` of a request, JSON with
`status`, `fields` and `body`; without one by 200. It takes a header of the PROXY protocol, whose client is then a field
`Proxied-For`. Backends whose port begins with 84 have TLS, with 85 the uwsgi protocol; those with 86 let requests pass
whose Authorization is `Bearer good`, as alice. Addresses and paths that exist on this machine for each run take the
place of those in the files.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import ssl
import tomllib
from base64 import b64encode
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any, Self

from devtools.certificates import Authority, Pair
from devtools.environment import HOST, ROOT
from devtools.ports import free_port
from devtools.servers import Process, listens
from devtools.wait import PATIENCE

EXAMPLES = ROOT / "docs" / "examples"
_ADDRESS = re.compile(r"(0\.0\.0\.0|127\.0\.0\.1):(\d+)")
_PATH = re.compile(r"/(?:srv|etc)/[\w./-]+")


class _Backend(BaseHTTPRequestHandler):
    """Responds as the field Answer states, and records what it got."""

    protocol_version = "HTTP/1.1"
    server: _BackendServer
    _client = ""  #: what a header of the PROXY protocol states

    def setup(self) -> None:
        super().setup()
        begin = self.rfile.peek(16)
        if begin.startswith(b"PROXY "):
            self._client = self.rfile.readline(108).split()[2].decode()
        elif begin.startswith(b"\r\n\r\n\0\r\nQUIT\n"):
            head = self.rfile.read(16)
            addresses = self.rfile.read(int.from_bytes(head[14:16]))
            self._client = socket.inet_ntoa(addresses[:4]) if head[13] >> 4 == 1 else ""

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65_537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        if self.headers.get("Transfer-Encoding"):
            while size := int(self.rfile.readline(64), 16):
                self.rfile.read(size + 2)
            self.rfile.readline(3)
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        stated = [("Proxied-For", self._client)] if self._client else []
        self.server.record(self.command, self.path, [*self.headers.items(), *stated])
        answer = json.loads(self.headers.get("Answer") or "{}")
        if self.headers.get("Upgrade"):
            answer = {"status": 101, "fields": {"Connection": "upgrade", "Upgrade": self.headers["Upgrade"]}}
        status, body = answer.get("status", 200), answer.get("body", "hello").encode()
        self.send_response(status)
        for name, value in answer.get("fields", {}).items():
            self.send_header(name, value)
        if status != 101:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status == 101:
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write nothing."""


class _Uwsgi(_Backend):
    """The same for packets of the uwsgi protocol; each has a connection of its own."""

    def handle_one_request(self) -> None:
        head = self.rfile.read(4)
        self.close_connection = True
        if len(head) < 4:
            return
        packet = BytesIO(self.rfile.read(int.from_bytes(head[1:3], "little")))
        texts = []
        while size := packet.read(2):
            texts.append(packet.read(int.from_bytes(size, "little")).decode("latin-1"))
        variables = dict(zip(texts[::2], texts[1::2], strict=True))
        self.rfile.read(int(variables.get("CONTENT_LENGTH") or 0))
        fields = [(name[5:].replace("_", "-"), value) for name, value in variables.items() if name.startswith("HTTP_")]
        self.server.record(variables["REQUEST_METHOD"], variables["REQUEST_URI"], fields)
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


class _Decider(_Backend):
    """A service that is asked about requests, which are no arrivals."""

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65_537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        self.send_response(200 if self.headers.get("Authorization") == "Bearer good" else 401)
        self.send_header("X-User", "alice")
        self.send_header("Content-Length", "0")
        self.end_headers()


class _BackendServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self,
        name: str,
        record: Callable[[Arrival], None],
        handler: type[_Backend] = _Backend,
        tls: ssl.SSLContext | None = None,
        path: str = "",
    ) -> None:
        self.address_family = socket.AF_UNIX if path else socket.AF_INET
        super().__init__(path or (HOST, 0), handler)  # type: ignore[arg-type]
        self._name, self._record, self._tls = name, record, tls

    def server_bind(self) -> None:
        """Bind without the look-up of a name."""
        self.socket.bind(self.server_address)
        self.server_port = 0 if self.address_family == socket.AF_UNIX else self.socket.getsockname()[1]

    def get_request(self) -> tuple[Any, Any]:
        """A connection; with TLS the handshake is that of its thread."""
        connection, address = self.socket.accept()
        if self._tls:
            return self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address
        return connection, address

    def handle_error(self, *_: object) -> None:
        """A connection that the other side ends is no failure."""

    def record(self, method: str, target: str, fields: list[tuple[str, str]]) -> None:
        self._record(Arrival(self._name, method, target, fields))


@dataclass(frozen=True)
class Arrival:
    """A request as a backend got it; `backend` is the address in the example."""

    backend: str
    method: str
    target: str
    fields: list[tuple[str, str]]


@dataclass(frozen=True)
class Served:
    """What became of a request: the response, and its arrivals at backends."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes
    arrivals: list[Arrival]


def values(fields: list[tuple[str, str]], name: str) -> list[str]:
    """The values of a field, in order."""
    return [value for key, value in fields if key.lower() == name.lower()]


@dataclass
class Example:
    """An example whose backends run, with files in a directory of this run."""

    name: str
    directory: Path
    folder: Path = EXAMPLES
    written: dict[str, str] = field(default_factory=dict)  #: texts of configurations that are no files, by name
    requests: list[dict[str, Any]] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    listeners: dict[str, dict[str, int]] = field(default_factory=dict)  #: ports, by configuration and address
    _backends: dict[str, int] = field(default_factory=dict)
    _client: Pair | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        described = tomllib.loads(self.read("requests.toml"))
        self.requests = described["requests"]
        self.authority = Authority(self.directory)
        for path, content in described.get("files", {}).items():
            file = self.directory / path.strip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, file: str) -> str:
        """The text of a file of the example."""
        return self.written.get(file) or (self.folder / self.name / file).read_text("utf-8")

    def placed(self, file: str) -> str:
        """The text of a configuration, with addresses and paths of this run."""
        text = self.read(file)
        self.listeners[file] = {}
        text = _ADDRESS.sub(lambda found: f"{HOST}:{self._port(file, found[0], found[1])}", text)
        return _PATH.sub(lambda found: self._path(found[0]), text)

    def is_tls(self, listener: str) -> bool:
        """Whether a listener of the example has TLS."""
        listeners = tomllib.loads(self.read("lbflask.toml")).get("listeners", [])
        return any(one["bind"] == listener and one.get("tls") for one in listeners)

    def send(self, file: str, request: dict[str, Any]) -> Served:
        """Send a request to the proxy that has this configuration."""
        listener = request.get("listener", "0.0.0.0:80")
        try:
            sock = self._connected(self.listeners[file][listener], request, tls=self.is_tls(listener))
        except (ssl.SSLError, ConnectionError):
            return Served(0, [], b"", [])
        connection = http.client.HTTPConnection(HOST)
        connection.sock = sock
        fields = {"Host": request.get("host", "localhost"), **request.get("fields", {})}
        if "upgrade" in request:
            fields |= {"Connection": "Upgrade", "Upgrade": request["upgrade"]}
        body = None
        if "length" in request:
            fields["Content-Length"] = str(request["length"])
            body = None if request["status"] == 413 else b"x" * request["length"]  # refused by its head
        before = len(self.arrivals)
        try:
            connection.request(request.get("method", "GET"), request["target"], body, fields)
            response = connection.getresponse()
            read = b"" if response.status == 101 else response.read()
            return Served(response.status, response.getheaders(), read, self.arrivals[before:])
        except (ssl.SSLError, ConnectionError):
            return Served(0, [], b"", self.arrivals[before:])
        finally:
            connection.close()
            sock.close()

    def _connected(self, port: int, request: dict[str, Any], *, tls: bool) -> socket.socket:
        sock = socket.create_connection((HOST, port), PATIENCE)
        if "client" in request:
            sock.sendall(f"PROXY TCP4 {request['client']} {HOST} 40000 {port}\r\n".encode())
        if not tls and not request.get("tls"):
            return sock
        context = ssl.create_default_context(cafile=self.authority.ca_file)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if request.get("certificate"):
            self._client = self._client or self.authority.pair("client.example")
            context.load_cert_chain(self._client.certificate, self._client.key)
        return context.wrap_socket(sock, server_hostname=request.get("host", "localhost"))

    def start_nginx(self) -> None:
        """Start nginx with the equivalent configuration."""
        text, work = self.placed("nginx.conf"), self.directory
        temporary = " ".join(f"{one}_temp_path {work};" for one in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        path = work / "nginx.conf"
        types = "types { text/html html; text/css css; application/javascript js; text/plain txt; }"
        user = "user root;" if os.geteuid() == 0 else ""  # whose files these are
        path.write_text(
            f"{user} daemon off; pid {work}/nginx.pid; error_log {work}/error.log;\n"
            "events {}\n"
            f"http {{ access_log off; {temporary} {types}\n{text}\n}}\n"
        )
        process = self._stack.enter_context(Process(["nginx", "-c", str(path), "-e", f"{work}/start.log"]))
        ports = self.listeners["nginx.conf"].values()
        process.await_start(lambda: all(map(listens, ports)), "nginx listens")

    def start_haproxy(self) -> None:
        """Start HAProxy with its configuration."""
        text = self.placed("haproxy.cfg")
        path = self.directory / "haproxy.cfg"
        path.write_text(text)
        process = self._stack.enter_context(Process(["haproxy", "-db", "-f", str(path)]))
        ports = self.listeners["haproxy.cfg"].values()
        process.await_start(lambda: all(map(listens, ports)), "HAProxy listens")

    def _port(self, file: str, address: str, host: str) -> int:
        if host == "0.0.0.0":
            return self.listeners[file].setdefault(address, free_port())
        if address not in self._backends:
            self._backends[address] = self._start(address).server_port
        return self._backends[address]

    def _start(self, address: str, path: str = "") -> _BackendServer:
        kind = address.rpartition(":")[2][:2]
        handler = {"85": _Uwsgi, "86": _Decider}.get(kind, _Backend)
        tls = self.authority.server("localhost", HOST, "site.example") if kind == "84" else None
        server = _BackendServer(address, self.arrivals.append, handler, tls, path)
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self._stack.callback(server.server_close)
        self._stack.callback(server.shutdown)
        return server

    def _path(self, path: str) -> str:
        file = self.directory / path.strip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        if path.startswith("/etc/lbflask/") and not file.exists():
            file.write_text(b64encode(bytes(32)).decode())
            file.chmod(0o600)
        elif path == "/etc/ssl/authority.pem":
            shutil.copy(self.authority.ca_file, file)
        elif path.endswith(".sock") and not file.exists():
            self._start(path, str(file))
        elif path.startswith("/etc/ssl/") and not file.exists():
            pair = self.authority.pair(file.stem)
            both = Path(pair.certificate).read_bytes() + Path(pair.key).read_bytes()  # as HAProxy reads them
            file.with_suffix(".pem").write_bytes(both)
            file.with_suffix(".key").write_bytes(Path(pair.key).read_bytes())
        return f"{file}/" if path.endswith("/") else str(file)
