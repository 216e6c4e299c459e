"""Conditions of nginx's `if` as a match."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lbflask.importers.literals import literal


def condition_of(args: Sequence[str]) -> dict[str, Any] | None:
    """The keys of `match` for `($variable operator value)`; None without an equal."""
    if len(args) == 1:
        variable, operator, value = args[0], "", ""
    elif len(args) == 3:
        variable, operator, value = args
    else:
        return None
    keys = _keys(variable.lstrip("$"), operator.lstrip("!"), value)
    if keys is None or "$" in value.rstrip("$"):
        return None
    return {"not": keys} if operator.startswith("!") else keys


def _keys(name: str, operator: str, value: str) -> dict[str, Any] | None:
    text = literal(value)
    wanted: Any = {"": True, "=": text, "~": {"regex": text}, "~*": {"regex": f"(?i){text}"}}.get(operator)
    if wanted is None:
        return None
    for begin, key in (("http_", "headers"), ("arg_", "query"), ("cookie_", "cookies")):
        if name.startswith(begin) and name != "http_host":
            field = name.removeprefix(begin)
            return {key: {field.replace("_", "-") if key == "headers" else field: wanted}}
    if name in ("host", "http_host") and operator == "=":
        return {"host": text}
    if name == "request_method" and operator == "=":
        return {"methods": [text]}
    if name == "request_method" and operator == "~":
        methods = value.strip("^$").strip("()").split("|")
        return {"methods": methods} if all(one.isalpha() for one in methods) else None
    if name == "scheme" and operator == "=" and value in ("http", "https"):
        return {"scheme": value}
    return None
