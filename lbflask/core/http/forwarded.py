"""The Forwarded field (RFC 7239): the element of one hop, and the elements of a field that came."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lbflask.core.http.addresses import parsed_address

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: §4: a pair, with what ends it. Values that are no token and not quoted are common, such as `for=[::1]:80`.
_PAIR = re.compile(
    r'[ \t]*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",;]*))[ \t]*(,[ \t,]*|;[ \t;]*|$)'
)
_OBFUSCATED = re.compile(r"_[A-Za-z0-9._-]+", re.ASCII)

#: The pairs of an element, by their names in small letters.
Element = dict[str, str]


def forwarded_element(node: str, host: str = "", scheme: str = "") -> str:
    """The element for a request that came from `node`, asking for `host`, by `scheme`; empty ones are left out.

    A node that is no IP address, such as the other end of a unix socket, is `unknown` (§6.2), unless it is an
    obfuscated identifier (§6.3). `by` is left out: it would tell backends nothing that they can't see.
    """
    pairs = [("for", _node(node)), ("host", host), ("proto", scheme)]
    return ";".join(f"{name}={_quoted(value)}" for name, value in pairs if value)


def forwarded_elements(lines: Iterable[str]) -> list[Element]:
    """The elements of all lines in order. None at all if a line is malformed: what is quoted in it can't be known."""
    elements: list[Element] = []
    for line in lines:
        text, element, position = line.strip(" \t,;"), Element(), 0
        while position < len(text):
            found = _PAIR.match(text, position)
            if found is None:
                return []
            name, quoted, plain, end = found.groups()
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            element.setdefault(name.lower(), value)
            position = found.end()
            if not end.startswith(";"):
                elements.append(element)
                element = Element()
    return elements


def _node(node: str) -> str:
    """§6: an IPv6 address stands in brackets, and without a zone, which means nothing elsewhere."""
    address = parsed_address(node)
    if address is None:
        return node if _OBFUSCATED.fullmatch(node) else "unknown"
    return f"[{address}]" if address.version == 6 else str(address)


def _quoted(value: str) -> str:
    """§4: what is no token is a quoted string (RFC 9110 §5.6.4)."""
    if _TOKEN.fullmatch(value):
        return value
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
