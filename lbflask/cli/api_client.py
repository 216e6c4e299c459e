"""The command line's way to the admin API: over TCP, TLS or a unix socket, with a token."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

from lbflask.config.files import read_text

#: Seconds that an answer may take; `doctor` tries each backend meanwhile.
TIMEOUT = 30.0
#: Seconds without a word after which a stream is taken for dead: signs of life come more often.
STREAM_TIMEOUT = 25.0


class Unreachable(Exception):
    """Nobody answers at the URL, or somebody else. `advice` is what to do."""

    advice = "start gunicorn there, or give --url with the admin listener (`admin_bind`) of an instance that runs"


class NoListener(Unreachable):
    """There is no URL: none is given, and the configuration has no admin listener, or the URL is none."""

    advice = "give --url with the admin listener of an instance, such as http://127.0.0.1:8090 or unix:/run/admin.sock"


class ApiProblem(Exception):
    """The API has refused."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket at the path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass(frozen=True, slots=True)
class ApiClient:
    """The admin API at a URL: `http://host:port`, `https://…` or `unix:/path`."""

    url: str
    token: str = ""

    def get(self, path: str, timeout: float = TIMEOUT) -> Any:
        """The document at a path. Raises Unreachable and Problem, and so do all that follow."""
        return self.request("GET", path, timeout=timeout)

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None, timeout: float = TIMEOUT) -> Any:
        """What the API answers."""
        with closing(self._connection(timeout)) as connection:
            response = self._response(connection, method, path, body)
            try:
                data = response.read()
            except (OSError, http.client.HTTPException) as error:
                raise Unreachable(f"{self.url} broke off: {error}") from None
        return self._document(data)

    def stream(self, path: str, last: str = "") -> Iterator[tuple[str, str, Any]]:
        """Server-sent events, as they come: name, id and document. Ends with Unreachable."""
        with closing(self._connection(STREAM_TIMEOUT)) as connection:
            response = self._response(connection, "GET", path, None, {"Last-Event-ID": last} if last else {})
            fields: dict[str, str] = {}
            while True:
                try:
                    line = response.readline()
                except (OSError, http.client.HTTPException) as error:
                    raise Unreachable(f"{self.url} broke off: {error}") from None
                if not line:
                    raise Unreachable(f"{self.url} broke off")
                text = line.decode(errors="replace").rstrip("\r\n")
                if text:
                    name, _, value = text.partition(":")
                    fields[name] = value.removeprefix(" ")
                else:
                    if "data" in fields:
                        yield fields.get("event", ""), fields.get("id", ""), json.loads(fields["data"])
                    fields = {}

    def _response(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        fields = {"Accept": "application/json", **(headers or {})}
        if self.token:
            fields["Authorization"] = f"Bearer {self.token}"
        data = None
        if body is not None:
            fields["Content-Type"] = "application/json"
            data = json.dumps(body)
        try:
            connection.request(method, f"/api/v1{path}", data, fields)
            response = connection.getresponse()
            if response.status >= 400:
                self._refuse(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"nobody answers at {self.url}: {_reason(error)}") from None
        return response

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if self.url.startswith("unix:"):
            return _UnixConnection(self.url.removeprefix("unix:").removeprefix("//"), timeout)
        split = urlsplit(self.url)
        try:
            host, port = split.hostname, split.port
        except ValueError as error:
            raise NoListener(f"{self.url!r} is no URL: {error}") from None
        if split.scheme not in ("http", "https") or not host:
            raise NoListener(f"{self.url!r} is no URL of an admin API")
        if split.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=timeout, context=ssl.create_default_context())
        return http.client.HTTPConnection(host, port, timeout=timeout)

    def _refuse(self, status: int, data: bytes) -> NoReturn:
        document = self._document(data)
        detail = document.get("detail", "") if isinstance(document, dict) else ""
        raise ApiProblem(status, str(detail) or f"the API answers {status}")

    def _document(self, data: bytes) -> Any:
        try:
            return json.loads(data) if data else None
        except ValueError:
            raise Unreachable(f"what answers at {self.url} is no admin API of lbflask") from None


def segment(text: str) -> str:
    """The text as one segment of a path."""
    return quote(text, safe="")


def token_from(environ: Mapping[str, str], file: str | None) -> str:
    """The token to show: from the file, else LBFLASK_ADMIN_TOKEN. `operator:NAME:SECRET` is taken too.

    Raises UnusableFile.
    """
    text = (read_text(file, pipes=True) if file else environ.get("LBFLASK_ADMIN_TOKEN", "")).strip()
    role, _, rest = text.partition(":")
    return rest.partition(":")[2] if role in ("operator", "read") and ":" in rest else text


def admin_url(bind: str) -> str:
    """The URL of the admin listener at an address; of one on all addresses, at the loopback one."""
    if bind.startswith("unix:"):
        return bind
    host, _, port = bind.rpartition(":")
    loopback = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
    return f"http://{loopback.get(host, host)}:{port}"


def _reason(error: Exception) -> str:
    code = error.errno if isinstance(error, OSError) else None
    return os.strerror(code).lower() if code else str(error) or type(error).__name__
