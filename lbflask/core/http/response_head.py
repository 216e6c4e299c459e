"""A backend's response head in its plain form, read in one pass; any other form is left to the full parser.

Plain is what nearly every response is: a final status, HTTP/1.1, one space after each colon and none at the end of a
line, no empty value, nothing but printable ASCII, one Content-Length and no other word on framing. Whatever this reads
the full parser reads alike.
"""

from __future__ import annotations

import re

from lbflask.core.http.field_names import TCHAR, NameCache
from lbflask.core.http.fields import HOP_BY_HOP
from lbflask.core.http.framing import NO_BODY, Framing
from lbflask.core.http.types import Fields

#: Fields of a response; none that means well has more.
MAX_FIELDS = 1000
_STATUS_LINE = re.compile(r"HTTP/1\.1 ([2-5][0-9][0-9]) ([ -~]*)\r(?=\n)")
_FIELD_LINE = re.compile(rf"\n({TCHAR}+): ([!-~][ -~]*)(?<! )\r(?=\n)")
_PASSED, _LENGTH, _CONNECTION, _DROPPED, _NOT_PLAIN = range(5)
#: What a field means for the reading of the head; any other field passes.
_KINDS = (
    dict.fromkeys(HOP_BY_HOP, _DROPPED)
    | dict.fromkeys(("transfer-encoding", "upgrade", "trailer", "proxy-connection"), _NOT_PLAIN)
    | {"content-length": _LENGTH, "connection": _CONNECTION}
)
_NAMES = NameCache(lambda name: _KINDS.get(name.lower(), _PASSED))

#: Status, reason, fields without the hop-by-hop ones, framing, and where the body begins in what it was read from.
ResponseHead = tuple[int, str, Fields, Framing, int]


def plain_head(method: str, data: bytes) -> ResponseHead | None:
    """The head of a response that keeps its connection open; None for one that is incomplete or not plain."""
    end = data.find(b"\r\n\r\n") + 2  # 1 when there is none, and nothing is plain
    text = data[:end].decode("latin-1")
    first = _STATUS_LINE.match(text)
    if first is None:
        return None
    fields: Fields = _FIELD_LINE.findall(text, first.end())
    if text.count("\n") != len(fields) + 1 or len(fields) > MAX_FIELDS:
        return None  # there is a line that is not plain
    names, length = _NAMES, ""
    dropped: Fields = []
    for field in fields:
        kind = names[field[0]]
        if not kind:
            continue
        if kind == _LENGTH and not length and field[1].isdigit() and len(field[1]) < 19:
            length = field[1]
        elif kind == _DROPPED or (kind == _CONNECTION and field[1].lower() == "keep-alive"):
            dropped.append(field)
        else:
            return None
    for field in dropped:
        fields.remove(field)
    code, reason = first.groups()
    status = int(code)
    if method == "HEAD" or status in (204, 304):
        return status, reason, fields, NO_BODY, end + 2
    if not length:
        return None
    return status, reason, fields, tuple.__new__(Framing, (int(length), False)), end + 2
