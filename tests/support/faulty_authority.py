"""A proxy in front of an ACME authority of the tests: it passes requests on, except for those that it is to spoil.

with FaultyAuthority(directory, authority) as faulty:
    faulty.spoil("/order-plz", Fault(429, problem("rateLimited"), retry_after="3600"))
    settings = {"tls__acme__directory": faulty.directory, "tls__acme__ca": faulty.ca_file}
"""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from devtools.certificates import Authority
from devtools.environment import HOST
from devtools.wait import PATIENCE
from tests.support.acme_authority import AcmeAuthority

#: Seconds between two bytes of a body that drips.
DRIP = 0.05


@dataclass(frozen=True)
class Fault:
    """A response in place of that of the authority, which has got the request before if it `passes`. A body that
    `drips` has no end and comes byte by byte; a response that is on hold comes with the end of the proxy.
    With `where`, only requests are spoiled that have signed this key; with `times`, only so many.
    """

    status: int = 500
    body: bytes = b""
    retry_after: str = ""
    passes: bool = False
    drips: bool = False
    on_hold: bool = False
    where: str = ""
    times: int = 1 << 30


def problem(code: str, detail: str = "by the test") -> bytes:
    """A problem document (RFC 8555 §6.7)."""
    return json.dumps({"type": f"urn:ietf:params:acme:error:{code}", "detail": detail}).encode()


class FaultyAuthority:
    """`payloads` are what clients have signed, each with its path. With `window`, a text of two moments by RFC 3339,
    the authority suggests to renew all certificates then.
    """

    def __init__(self, directory: Path, authority: AcmeAuthority) -> None:
        site = Authority(directory, "faulty")
        self.ca_file = site.ca_file
        self.payloads: list[tuple[str, Any]] = []
        self.window: tuple[str, str] | None = None
        self._authority = authority
        self._faults: dict[str, Fault] = {}
        self._ended = threading.Event()
        proxy = self

        class Answer(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                with suppress(ConnectionError):
                    proxy.answer(self)

            do_GET = do_POST = do_HEAD = answer  # noqa: N815 - as the base class calls them

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer((HOST, 0), Answer)
        self._server.daemon_threads = True
        self._server.socket = site.server("localhost", HOST).wrap_socket(self._server.socket, server_side=True)
        self.base = f"https://localhost:{self._server.server_address[1]}"
        self.directory = f"{self.base}/dir"

    def spoil(self, path: str, fault: Fault) -> None:
        """Respond to requests whose path begins with this in this way."""
        self._faults[path] = fault

    def heal(self, path: str) -> None:
        self._faults.pop(path, None)

    def asked(self, path: str) -> list[Any]:
        """What clients have signed for paths that begin with this."""
        return [payload for at, payload in list(self.payloads) if at.startswith(path)]

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        sent: dict[str, Any] = {}
        if body:
            signed = json.loads(body)["payload"]
            content = base64.urlsafe_b64decode(signed + "=" * (-len(signed) % 4))
            sent = json.loads(content) if content else {}
            self.payloads.append((request.path, sent))
        fault = self._fault_of(request.path, sent)
        if fault is None:
            status, fields, content = self._passed_on(request, body)
            self._send(request, status, fields, content)
            return
        if fault.passes:
            self._passed_on(request, body)
        if fault.on_hold:
            self._ended.wait()
        fields = [
            ("Content-Type", "application/problem+json"),
            ("Retry-After", fault.retry_after),
            ("Replay-Nonce", "bm9uZQ"),
        ]
        if fault.drips:
            self._drip(request, fault)
        else:
            self._send(request, fault.status, [field for field in fields if field[1]], fault.body)

    def _fault_of(self, target: str, sent: dict[str, Any]) -> Fault | None:
        for path, fault in list(self._faults.items()):
            if target.startswith(path) and fault.times > 0 and (not fault.where or fault.where in sent):
                self._faults[path] = replace(fault, times=fault.times - 1)
                return fault
        return None

    def _passed_on(
        self, request: http.server.BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        if self.window is not None and request.path.startswith("/renewal/"):
            window = {"suggestedWindow": dict(zip(("start", "end"), self.window, strict=True))}
            return 200, [("Content-Type", "application/json")], json.dumps(window).encode()
        trust = ssl.create_default_context(cafile=self._authority.ca_file)
        connection = http.client.HTTPSConnection("localhost", self._authority.port, timeout=PATIENCE, context=trust)
        try:
            connection.request(request.command, request.path, body or None, dict(request.headers))
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if request.path == "/dir" and self.window is not None:
            content = json.dumps({**json.loads(content), "renewalInfo": f"{self.base}/renewal"}).encode()
        dropped = {"content-length", "transfer-encoding", "connection"}
        return response.status, [field for field in response.getheaders() if field[0].lower() not in dropped], content

    @staticmethod
    def _send(
        request: http.server.BaseHTTPRequestHandler, status: int, fields: list[tuple[str, str]], content: bytes
    ) -> None:
        request.send_response(status)
        for name, value in fields:
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)

    def _drip(self, request: http.server.BaseHTTPRequestHandler, fault: Fault) -> None:
        request.send_response(fault.status)
        request.send_header("Connection", "close")
        request.end_headers()
        while not self._ended.wait(DRIP):
            request.wfile.write(b" ")

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
