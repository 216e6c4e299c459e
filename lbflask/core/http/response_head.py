"""A backend's response head in its plain form, read in one pass; any other form is left to the full parser.

Plain is what nearly every response is: a final status, HTTP/1.1, one space after each colon and none at the end of a
line, no empty value, nothing but printable ASCII, one Content-Length and no other word on framing. Whatever this reads
the full parser reads alike.
"""

from __future__ import annotations

import re
from typing import Final

from lbflask.core.http.field_lines import FieldLines
from lbflask.core.http.field_names import TCHAR
from lbflask.core.http.fields import HOP_BY_HOP
from lbflask.core.http.framing import NO_BODY, Framing

#: Fields of a response; none that means well has more.
MAX_FIELDS: Final = 1000
_HEAD: Final = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9][0-9]) ([ -~]*+)\r(\n(?:%b++: [!-~][ -~]*+(?<! )\r\n)*+)\r\n" % TCHAR.encode()
)
_LENGTH: Final = 1
_DATE: Final = 2
_CONNECTION: Final = 3
_DROPPED: Final = 4
_NOT_PLAIN: Final = 5
#: What a field means for the reading of the head; any other passes.
_KINDS: Final = (
    dict.fromkeys(HOP_BY_HOP, _DROPPED)
    | dict.fromkeys(("transfer-encoding", "upgrade", "trailer", "proxy-connection"), _NOT_PLAIN)
    | {"content-length": _LENGTH, "connection": _CONNECTION, "date": _DATE}
)
#: The lines of these fields, with name and value: from the end of the line before, which the search looks for first.
_NOTABLE: Final = re.compile(rb"(\n((?i:%b)): ([^\r]*+)\r)" % "|".join(_KINDS).encode())
_KINDS_OF_BYTES: Final = {name.encode(): kind for name, kind in _KINDS.items()}
#: The shortest line, with its end: a head of fewer bytes for each field has not too many.
_SHORTEST: Final = 6

#: Status, reason, fields without the hop-by-hop ones, framing, and where the body begins in what it was read from.
ResponseHead = tuple[int, str, FieldLines, Framing, int]


def plain_head(method: str, data: bytes) -> ResponseHead | None:
    """The head of a response that keeps its connection open; None for one that is incomplete or not plain."""
    found = _HEAD.match(data)
    if found is None:
        return None
    text: bytes = found[3]  # from the end of the status line
    if len(text) > MAX_FIELDS * _SHORTEST and text.count(b"\n") > MAX_FIELDS + 1:
        return None
    length, dated = b"", False
    for line, name, value in _NOTABLE.findall(text):
        kind = _KINDS_OF_BYTES[name.lower()]
        if kind == _DATE:
            dated = True
        elif kind == _LENGTH and not length and value.isdigit() and len(value) < 19:
            length = value
        elif kind == _DROPPED or (kind == _CONNECTION and value.lower() == b"keep-alive"):
            text = text.replace(line, b"", 1)
        else:
            return None
    status, size = int(found[1]), int(length or b"0")
    framing = NO_BODY
    if method != "HEAD" and status not in (204, 304):
        if not length:
            return None
        framing = tuple.__new__(Framing, (size, False))
    return status, found[2].decode(), (text[1:], dated, size), framing, found.end()
