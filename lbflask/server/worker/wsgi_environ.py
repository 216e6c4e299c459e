"""The WSGI environ of a client request, for the control plane and for any other WSGI application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gunicorn.http.body import Body, LengthReader
from gunicorn.util import split_request_uri, unquote_to_wsgi_str

from lbflask.server.worker.name_cache import HeaderNameCache

if TYPE_CHECKING:
    from lbflask.server.worker.client_connection import ClientConnection
    from lbflask.server.worker.received_head import ReceivedHead


def environ_of(request: ReceivedHead, client: ClientConnection) -> dict[str, Any]:
    """The environ of the request (PEP 3333), without what is the same for all requests of a worker."""
    path, query = _path_and_query(request.target)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "RAW_URI": request.target,
        "PATH_INFO": unquote_to_wsgi_str(path) if "%" in path else path,
        "QUERY_STRING": query,
        "SCRIPT_NAME": "",
        "SERVER_PROTOCOL": request.protocol,
        "REMOTE_ADDR": client.peer,
        "REMOTE_PORT": client.peer_port,
        "wsgi.url_scheme": client.scheme,
        "wsgi.input": request.message.body if request.has_body else Body(LengthReader(client.reader, 0)),
        **client.environ,
    }
    for name, value in request.fields:
        key = _ENVIRON_KEYS[name]
        if key in environ:
            value = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + value  # noqa: PLW2901
        environ[key] = value
    return environ


def _path_and_query(target: str) -> tuple[str, str]:
    """Those of a target in origin-form or absolute-form; any other is a path."""
    if not target.startswith("/"):
        try:
            parts = split_request_uri(target)
        except ValueError:
            return target, ""
        return parts.path, parts.query
    path, _, query = target.partition("?")
    return path, query


def _environ_key(name: str) -> str:
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


_ENVIRON_KEYS: Final = HeaderNameCache(_environ_key, 1024)
