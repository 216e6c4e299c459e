"""The examples of docs/examples: a configuration, the equivalent one of nginx, and requests that both serve alike.

`requests.toml` has `[files]`, the contents of files by path, and a `[[requests]]` table for each request:

    listener, method, host, target, fields, length (of a body), upgrade    what is sent
    status, backend, passes     what both respond, which backend gets it (none unless named), and for which target
    sees, gets                  fields of the request to the backend, and of the response, that are the same in both
    same = false                nginx differs by design: only what the table states is compared

A backend responds by the field `Answer` of a request, JSON with `status`, `fields` and `body`; without one by 200.
Addresses and paths that exist on this machine for each run take the place of those in the files.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
import tomllib
from base64 import b64encode
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self

from devtools.certificates import Authority
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
        self.server.record(self.command, self.path, list(self.headers.items()))
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


class _BackendServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, name: str, record: Callable[[Arrival], None]) -> None:
        super().__init__((HOST, 0), _Backend)
        self._name, self._record = name, record

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
        sock = socket.create_connection((HOST, self.listeners[file][listener]), PATIENCE)
        if self.is_tls(listener):
            context = ssl.create_default_context(cafile=self.authority.ca_file)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = context.wrap_socket(sock, server_hostname=request.get("host", "localhost"))
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
        finally:
            connection.close()
            sock.close()

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
            server = _BackendServer(address, self.arrivals.append)
            Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            self._stack.callback(server.server_close)
            self._stack.callback(server.shutdown)
            self._backends[address] = server.server_port
        return self._backends[address]

    def _path(self, path: str) -> str:
        file = self.directory / path.strip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        if path.startswith("/etc/lbflask/") and not file.exists():
            file.write_text(b64encode(bytes(32)).decode())
            file.chmod(0o600)
        elif path.startswith("/etc/ssl/") and not file.exists():
            pair = self.authority.pair(file.stem)
            both = Path(pair.certificate).read_bytes() + Path(pair.key).read_bytes()  # as HAProxy reads them
            file.with_suffix(".pem").write_bytes(both)
            file.with_suffix(".key").write_bytes(Path(pair.key).read_bytes())
        return f"{file}/" if path.endswith("/") else str(file)
