"""Plain request heads, parsed in Python, for a worker without gunicorn's parser in C."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_VALUE = rb"[\t\x20-\x7e\x80-\xff]*+"
#: No part can match in two ways (the quantifiers are possessive), so a head costs what its length does.
_HEAD: Final = re.compile(
    rb"(%b) (/[!-~]*+) HTTP/1\.([01])\r\n((?:%b:%b(?<![\t ])\r\n)*+)\r\n" % (_TOKEN, _TOKEN, _VALUE)
)


class PlainHead(NamedTuple):
    """A head in the form of gunicorn's parser in C. `consumed` is its length in bytes."""

    method: bytes
    path: bytes
    minor_version: int
    headers: list[tuple[bytes, bytes]]
    consumed: int


def plain_head(data: bytes, longest_line: int, most_fields: int, longest_field: int) -> PlainHead | None:
    """The head with which the data begins; None for any that gunicorn might read otherwise or reject.

    Plain heads are complete, of HTTP/1.0 or 1.1, with a target in origin-form, and each field is one line without
    control characters or blanks at its end (RFC 9112 §3.2.1, §5). All fields together are within the limit of one.
    """
    found = _HEAD.match(data)
    if found is None:
        return None
    lines = found[4].split(b"\r\n")[:-1]
    if found.start(4) - 2 > longest_line or len(found[4]) > longest_field or len(lines) > most_fields:
        return None
    fields = [(name, value.lstrip(b"\t ")) for name, _, value in (line.partition(b":") for line in lines)]
    return PlainHead(found[1], found[2], int(found[3]), fields, found.end())
