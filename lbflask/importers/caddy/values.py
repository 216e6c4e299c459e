"""Caddy's placeholders as lbflask's variables."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lbflask.importers.literals import destination, template_of

_PLACEHOLDER = re.compile(r"\{([a-zA-Z0-9_.-]+)\}")
_FIELDS: Mapping[str, str] = {
    "remote_host": "{client}",
    "http.request.remote.host": "{client}",
    "client_ip": "{client}",
    "remote": "{client}",
    "scheme": "{scheme}",
    "http.request.scheme": "{scheme}",
    "host": "{host}",
    "http.request.host": "{host}",
    "hostport": "{authority}",
    "http.request.hostport": "{authority}",
    "uri": "{path}{query}",
    "http.request.uri": "{path}{query}",
    "path": "{path}",
    "http.request.uri.path": "{path}",
    "method": "{method}",
    "http.request.method": "{method}",
    "http.request.uuid": "{request_id}",
    "http.auth.user.id": "{user}",
    "http.request.tls.client.subject": "{tls.client_subject}",
    "tls_client_subject": "{tls.client_subject}",
}


def field_value(text: str) -> str | None:
    """A value of a header field; None for a placeholder without an equal."""
    return template_of(_kept(text), _PLACEHOLDER, _variable)


def redirect_target(text: str) -> str | None:
    """The destination of a redirect; None for a placeholder without an equal."""
    text = text.replace("{scheme}://{host}", "https://{host}") if text.startswith("{scheme}://") else text
    found = field_value(text.replace("?{query}", "{uri_query}"))
    return destination(None if found is None else found.replace("{authority}", "{host}"))


def _kept(text: str) -> str:
    """Variables of the environment are those of lbflask.toml already; `template_of` must not escape them twice."""
    return text.replace("$${", "${") if "$${" in text else text


def _variable(found: re.Match[str]) -> str | None:
    name = found[1]
    if name == "uri_query":
        return "{query}"
    for begin in ("header.", "http.request.header."):
        if name.startswith(begin):
            return f"{{header.{name.removeprefix(begin)}}}"
    if name.startswith("env."):
        return f"{{env.{name.removeprefix('env.')}}}"
    return _FIELDS.get(name)
