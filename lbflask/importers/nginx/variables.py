"""nginx's variables as those of lbflask.toml."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lbflask.importers.literals import destination, template_of

VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
#: In values of header fields.
_FIELDS: Mapping[str, str] = {
    "remote_addr": "{client}",
    "realip_remote_addr": "{client}",
    "proxy_protocol_addr": "{client}",
    "remote_user": "{user}",
    "ssl_client_s_dn": "{tls.client_subject}",
    "ssl_protocol": "{tls.version}",
    "proxy_add_x_forwarded_for": "{client}",
    "scheme": "{scheme}",
    "host": "{host}",
    "http_host": "{authority}",
    "request_method": "{method}",
    "uri": "{path}",
    "document_uri": "{path}",
    "request_uri": "{path}{query}",
    "request_id": "{request_id}",
}
#: In redirections, where only these are not percent-encoded.
_TARGETS: Mapping[str, str] = {**_FIELDS, "http_host": "{host}"}
#: The scheme of the clients of a server, as a constant: no variable has this name.
SCHEME = "$scheme"


def with_constants(text: str, constants: Mapping[str, str]) -> str:
    """The text with the values of variables that `set` makes constant."""
    return VARIABLE.sub(lambda found: constants.get(found[1] or found[2], found[0]), text)


def field_value(text: str, constants: Mapping[str, str]) -> str | None:
    """A value of a header field with lbflask's variables; None if one has no equal."""
    text = (
        with_constants(text, constants).replace("$is_args$args", "{query}").replace("$is_args$query_string", "{query}")
    )
    return _unescaped_query(template_of(text, VARIABLE, lambda one: _variable(one, _FIELDS)))


def redirect_target(text: str, constants: Mapping[str, str]) -> str | None:
    """The destination of a redirect; None if it has a variable without an equal."""
    if text.startswith("$scheme://"):
        text = constants.get(SCHEME, "https") + text.removeprefix("$scheme")
    text = with_constants(text, constants)
    for query in ("$is_args$args", "$is_args$query_string", "?$args", "?$query_string"):
        text = text.replace(query, "{query}")
    return destination(_unescaped_query(template_of(text, VARIABLE, lambda one: _variable(one, _TARGETS))))


def _variable(found: re.Match[str], names: Mapping[str, str]) -> str | None:
    name = found[1] or found[2]
    if name.startswith("http_") and name not in names:
        return f"{{header.{name.removeprefix('http_').replace('_', '-')}}}"
    return names.get(name)


def _unescaped_query(text: str | None) -> str | None:
    return text if text is None else text.replace("{{query}}", "{query}")
