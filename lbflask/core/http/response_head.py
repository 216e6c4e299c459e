"""A backend's response head in its plain form, read in one pass; any other form is left to the full parser.

Plain is what nearly every response is: a final status, HTTP/1.1, one space after each colon, nothing but printable
characters, one Content-Length and no other word on framing. Whatever this reads the full parser reads alike.
"""

from __future__ import annotations

import re

from lbflask.core.http.fields import HOP_BY_HOP, Fields
from lbflask.core.http.framing import NO_BODY, Framing
from lbflask.core.http.names import Spellings

#: Fields of a response; none that means well has more.
MAX_FIELDS = 1000
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_STATUSES = frozenset(str(status) for status in range(200, 600))
_PASSED, _LENGTH, _CONNECTION, _DROPPED, _NOT_PLAIN = range(5)


#: Status, reason, fields without the hop-by-hop ones, framing, and where the body begins in what it was read from.
ResponseHead = tuple[int, str, Fields, Framing, int]


def _kind(name: str) -> int:
    """What a field's name means for the reading of the head."""
    lower = name.lower()
    if lower == "content-length":
        return _LENGTH
    if lower == "connection":
        return _CONNECTION
    if lower in ("transfer-encoding", "upgrade", "trailer", "proxy-connection") or not _NAME.fullmatch(name):
        return _NOT_PLAIN
    return _DROPPED if lower in HOP_BY_HOP else _PASSED


_NAMES = Spellings(_kind)


def plain_head(method: str, data: bytes) -> ResponseHead | None:
    """The head of a response that keeps its connection open; None for one that is incomplete or not plain."""
    end = data.find(b"\r\n\r\n")
    if end < 0 or data[:9] != b"HTTP/1.1 ":
        return None
    text = data[9 : end + 2].decode("latin-1")
    # Blanks around a value are not of it (RFC 9112 §5), and an empty one may be no value at all.
    if ":  " in text or " \r\n" in text[4:]:
        return None
    lines = text.split("\r\n")
    first = lines[0]
    if first[:3] not in _STATUSES or first[3:4] != " " or len(lines) > MAX_FIELDS or not "".join(lines).isprintable():
        return None
    fields: Fields = []
    names = _NAMES
    length = ""
    for line in lines[1:-1]:
        name, _, value = line.partition(": ")
        if not value:
            return None  # a name and nothing else is no field
        kind = names[name]
        if not kind:
            fields.append((name, value))
        elif kind == _LENGTH and not length and value.isdigit() and value.isascii() and len(value) < 19:
            length = value
            fields.append((name, value))
        elif kind != _DROPPED and (kind != _CONNECTION or value.lower() != "keep-alive"):
            return None
    status = int(first[:3])
    if method == "HEAD" or status in (204, 304):
        return status, first[4:], fields, NO_BODY, end + 4
    if not length:
        return None
    return status, first[4:], fields, tuple.__new__(Framing, (int(length), False)), end + 4
