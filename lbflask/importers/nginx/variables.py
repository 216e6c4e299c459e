"""nginx's variables as those of lbflask.toml."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lbflask.importers.literals import template_of

VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
#: In values of header fields.
_FIELDS: Mapping[str, str] = {
    "remote_addr": "{client}",
    "realip_remote_addr": "{client}",
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
_TARGETS: Mapping[str, str] = {
    "host": "{host}",
    "http_host": "{host}",
    "request_uri": "{path}{query}",
    "uri": "{path}",
    "document_uri": "{path}",
}


def with_constants(text: str, constants: Mapping[str, str]) -> str:
    """The text with the values of variables that `set` makes constant."""
    return VARIABLE.sub(lambda found: constants.get(found[1] or found[2], found[0]), text)


def field_value(text: str, constants: Mapping[str, str]) -> str | None:
    """A value of a header field with lbflask's variables; None if one has no equal."""

    def variable(found: re.Match[str]) -> str | None:
        name = found[1] or found[2]
        if name.startswith("http_") and name not in _FIELDS:
            return f"{{header.{name.removeprefix('http_').replace('_', '-')}}}"
        return _FIELDS.get(name)

    text = (
        with_constants(text, constants).replace("$is_args$args", "{query}").replace("$is_args$query_string", "{query}")
    )
    return _unescaped_query(template_of(text, VARIABLE, variable))


def redirect_target(text: str, constants: Mapping[str, str]) -> str | None:
    """The destination of a redirect; None if it has a variable without an equal."""
    text = with_constants(text, constants)
    for query in ("$is_args$args", "$is_args$query_string", "?$args", "?$query_string"):
        text = text.replace(query, "{query}")
    if text.startswith("$request_uri"):
        return None
    found = template_of(text, VARIABLE, lambda one: _TARGETS.get(one[1] or one[2]))
    return _unescaped_query(found)


def _unescaped_query(text: str | None) -> str | None:
    return text if text is None else text.replace("{{query}}", "{query}")
