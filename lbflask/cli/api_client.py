"""Client of the admin API for the command line: over TCP, TLS or a unix socket, with a token.

httpx is imported with the first request, since commands that send none should start without it.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, urlsplit

from lbflask.config.files import read_text

if TYPE_CHECKING:
    import httpx

#: Seconds for a response; `doctor` connects to each backend meanwhile.
TIMEOUT = 30.0
#: Seconds without data after which a stream counts as lost; the server sends keep-alive comments more often.
STREAM_TIMEOUT = 25.0


class Unreachable(Exception):
    """The URL does not answer, or something else than an admin API does. `advice` is for the user."""

    advice = "run `lbflask serve` there, or give --url with the admin listener (`admin_bind`) of an instance that runs"


class NoListener(Unreachable):
    """There is no usable URL: none is given and the configuration has no admin listener, or it is malformed."""

    advice = "give --url with the admin listener of an instance, such as http://127.0.0.1:8090 or unix:/run/admin.sock"


class ApiProblem(Exception):
    """The API has rejected the request. `kind` is the type of the problem."""

    def __init__(self, status: int, detail: str, kind: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind


@dataclass(frozen=True, slots=True)
class ApiClient:
    """The admin API at a URL: `http://host:port`, `https://…` or `unix:/path`.

    Requests raise Unreachable and ApiProblem.
    """

    url: str
    token: str = field(default="", repr=False)

    def get(self, path: str, timeout: float = TIMEOUT) -> Any:
        """The document at a path."""
        return self.request("GET", path, timeout=timeout)

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None, timeout: float = TIMEOUT) -> Any:
        """The document of the response; None for an empty one."""
        with self._response(method, path, timeout, body=body) as response:
            return self._document(response.read())

    def stream(self, path: str, last: str = "") -> Iterator[tuple[str, str, Any]]:
        """Server-sent events as they arrive: name, latest id and document. Ends with Unreachable."""
        from httpx_sse import EventSource  # noqa: PLC0415

        with self._response("GET", path, STREAM_TIMEOUT, last=last) as response:
            for event in EventSource(response).iter_sse():
                if event.data:
                    yield event.event, event.id, event.json()
        raise Unreachable(f"{self.url} broke off")

    @contextmanager
    def _response(
        self, method: str, path: str, timeout: float, *, body: Mapping[str, Any] | None = None, last: str = ""
    ) -> Iterator[httpx.Response]:
        """A response with a status below 400, whose body is not read yet."""
        import httpx  # noqa: PLC0415

        fields = {
            "Accept": "application/json",
            "Last-Event-ID": last,
            "Content-Type": "application/json" if body else "",
        }
        headers = {name: value for name, value in fields.items() if value}
        data = json.dumps(body) if body is not None else None
        failure = f"no answer from {self.url}"
        try:
            with (
                self._client(timeout) as client,
                client.stream(method, f"/api/v1{path}", content=data, headers=headers) as response,
            ):
                if response.status_code >= 400:
                    self._reject(response.status_code, response.read())
                failure = f"{self.url} broke off"
                yield response
                return
        except httpx.HTTPError as error:
            failure += f": {_reason(error)}"
            if isinstance(error, httpx.RemoteProtocolError) and self.url.startswith("http:"):
                failure += "; a listener with TLS needs --url https://…"
        raise Unreachable(failure)  # out of the handler: the error would keep a socket that httpcore has not closed

    def _client(self, timeout: float) -> httpx.Client:
        """A client for this URL that ignores proxies and credentials of the environment."""
        import httpx  # noqa: PLC0415

        url, transport = self.url, None
        if url.startswith("unix:"):
            transport = httpx.HTTPTransport(verify=False, uds=url.removeprefix("unix:").removeprefix("//"))
            url = "http://localhost"
        try:
            split = urlsplit(url)
            base = httpx.URL(scheme=split.scheme, host=split.hostname or "", port=split.port)
            if base.scheme not in ("http", "https") or not base.host:
                raise NoListener(f"{self.url!r} is no URL of an admin API")
        except (ValueError, httpx.InvalidURL) as error:
            raise NoListener(f"{self.url!r} is no URL: {error}") from None
        verify = ssl.create_default_context() if base.scheme == "https" else False
        return httpx.Client(
            base_url=base, transport=transport, timeout=timeout, verify=verify, auth=self._authorize, trust_env=False
        )

    def _authorize(self, request: httpx.Request) -> httpx.Request:
        if self.token:
            request.headers.encoding = "latin-1"
            request.headers["Authorization"] = (
                f"Bearer {self.token.encode('utf-8', 'surrogateescape').decode('latin-1')}"
            )
        return request

    def _reject(self, status: int, data: bytes) -> NoReturn:
        document = self._document(data)
        problem = document if isinstance(document, dict) else {}
        detail = str(problem.get("detail", "")) or f"the API answers {status}"
        raise ApiProblem(status, detail, str(problem.get("type", "")))

    def _document(self, data: bytes) -> Any:
        try:
            return json.loads(data) if data else None
        except ValueError:
            raise Unreachable(f"what answers at {self.url} is no admin API of lbflask") from None


def segment(text: str) -> str:
    """The text as one segment of a path."""
    return quote(text, safe="")


def token_from(environ: Mapping[str, str], file: str | None) -> str:
    """The token of the file, else of LBFLASK_ADMIN_TOKEN: a secret, or `operator:NAME:SECRET`.

    Raises UnusableFile.
    """
    text = (read_text(file, pipes=True) if file else environ.get("LBFLASK_ADMIN_TOKEN", "")).strip()
    role, _, rest = text.partition(":")
    return rest.partition(":")[2] if role in ("operator", "read") and ":" in rest else text


def admin_url(bind: str) -> str:
    """The URL of the admin listener bound to an address; the loopback address for one on all addresses."""
    if bind.startswith("unix:"):
        return bind
    host, _, port = bind.rpartition(":")
    loopback = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
    return f"http://{loopback.get(host, host)}:{port}"


def _reason(error: BaseException) -> str:
    """The reason of the operating system below a transport error, else that of the error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror[:1].lower() + cause.strerror[1:]
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
