"""Removes framing fields from interim responses, which have no content (RFC 9110 §15.2).

Parsers differ in how they treat Content-Length and Transfer-Encoding there, so no parser receives these fields.
"""

from __future__ import annotations

import re

_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] 1[0-9][0-9](?![0-9])")
_SAMPLE = b"HTTP/1.1 100 "
_END = re.compile(rb"\n\r?\n")
#: A framing field, with the lines that continue it (RFC 9112 §5.2).
_FRAMING = re.compile(rb"\n(?:content-length|transfer-encoding):[^\n]*(?:\n[ \t][^\n]*)*(?=\n)", re.IGNORECASE)


class InterimFilter:
    """Filters the bytes of one response, from the first one on, for a parser. The head of an interim response passes
    when it is complete, or unchanged when more than `limit` bytes of it have arrived.
    """

    __slots__ = ("_held", "_limit", "_through")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = b""
        self._through = False  # the rest is no interim response, and passes

    def __call__(self, data: bytes) -> bytes:
        """The bytes that pass now, of those that have arrived so far."""
        if self._through:
            return data
        searched = max(0, len(self._held) - 2)
        data, self._held = self._held + data, b""
        passed = bytearray()
        while data:
            if len(data) < len(_SAMPLE) or not _STATUS_LINE.match(data):
                if _STATUS_LINE.match(data + _SAMPLE[len(data) :]):
                    break  # more bytes may complete its status line
                self._through = True
                break
            end = _END.search(data, searched)
            if end is None:
                self._through = len(data) > self._limit
                break
            head = data[: end.end()]
            passed += _FRAMING.sub(b"", head)
            self._through = head[9:12] == b"101"
            data, searched = data[end.end() :], 0
            if self._through:
                break
        if self._through:
            return bytes(passed + data) if passed else data
        self._held = data
        return bytes(passed)
