"""The Forwarded field (RFC 7239): the element of one hop, and the elements of a received field."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lbflask.core.http.addresses import is_obfuscated, parsed_address, plain_node
from lbflask.core.http.field_names import TCHAR, is_token

#: §4: a pair with its separator. Values that are neither a token nor quoted are common, such as `for=[::1]:80`.
_PAIR = re.compile(rf'[ \t]*({TCHAR}+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",;]*))[ \t]*(,[ \t,]*|;[ \t;]*|$)')

_BETWEEN = " \t,;"

#: The pairs of an element, by their names in small letters.
Element = dict[str, str]


def forwarded_element(node: str, host: str = "", scheme: str = "") -> str:
    """The element for a request from `node` for `host` by `scheme`; empty ones are omitted.

    A node that is no IP address, such as the peer of a unix socket, is `unknown` (§6.2), unless it is an obfuscated
    identifier (§6.3). `by` is omitted: backends see the address of this proxy anyway.
    """
    pairs = [("for", _node(node)), ("host", host), ("proto", scheme)]
    return ";".join(f"{name}={_quoted(value)}" for name, value in pairs if value)


def forwarded_elements(lines: Iterable[str]) -> list[Element]:
    """The elements of all lines in order; empty if a line is malformed, since its quotes are ambiguous then."""
    elements: list[Element] = []
    for line in lines:
        pairs = _pairs(line)
        if pairs is None:
            return []
        element = Element()
        for pair in pairs:
            element.setdefault(pair[1].lower(), _value(pair))
            if not pair[4].startswith(";"):
                elements.append(element)
                element = Element()
    return elements


def plain_line(line: str) -> str:
    """The line with IPv4 addresses in place of those that nodes have mapped into IPv6; a malformed line unchanged."""
    text = line
    for pair in reversed(_pairs(line) or ()):
        node = _value(pair)
        if pair[1].lower() in ("for", "by") and (plain := plain_node(node)) != node:
            text = text[: pair.end(1)] + "=" + _quoted(plain) + text[pair.start(4) :]
    return text


def _pairs(line: str) -> list[re.Match[str]] | None:
    """The pairs of all elements, as _PAIR finds them in the line; None for a malformed line."""
    position, end = len(line) - len(line.lstrip(_BETWEEN)), len(line.rstrip(_BETWEEN))
    pairs: list[re.Match[str]] = []
    while position < end:
        found = _PAIR.match(line, position, end)
        if found is None:
            return None
        pairs.append(found)
        position = found.end()
    return pairs


def _value(pair: re.Match[str]) -> str:
    """The value of the pair, without its quotes."""
    quoted: str | None = pair[2]
    return str(pair[3]) if quoted is None else re.sub(r"\\(.)", r"\1", quoted)


def _node(node: str) -> str:
    """§6: an IPv6 address stands in brackets, and without a zone, which means nothing elsewhere."""
    address = parsed_address(node)
    if address is None:
        return node if is_obfuscated(node) else "unknown"
    return f"[{address}]" if address.version == 6 else str(address)


def _quoted(value: str) -> str:
    """§4: what is no token is a quoted string (RFC 9110 §5.6.4)."""
    if is_token(value):
        return value
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
