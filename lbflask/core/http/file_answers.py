"""The answer to a request for a file that exists: status, fields, and which of its bytes follow (RFC 9110 §13, §14)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lbflask.core.http import preconditions
from lbflask.core.http.byte_ranges import UnsatisfiableRange, byte_range
from lbflask.core.http.field_lines import FieldLines
from lbflask.core.http.field_names import NameTable
from lbflask.core.http.http_dates import date_text
from lbflask.core.http.preconditions import Validators
from lbflask.core.http.types import Field, Fields

#: The fields of a request that an answer depends on.
ASKED: Final = frozenset(
    {
        "accept-encoding",
        "range",
        preconditions.IF_MATCH,
        preconditions.IF_NONE_MATCH,
        preconditions.IF_MODIFIED_SINCE,
        preconditions.IF_UNMODIFIED_SINCE,
        preconditions.IF_RANGE,
    }
)
_NOSNIFF: Final = ("X-Content-Type-Options", "nosniff")
_ACCEPT_RANGES: Final = ("Accept-Ranges", "bytes")
#: Without any of these a request gets the whole file.
_CONDITIONS: Final = ASKED - {"accept-encoding"}
_ASKED_NAMES: Final[NameTable[str]] = NameTable({name: name for name in ASKED})


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """Status and fields, and the bytes of the body: `count` of them from `start` on."""

    status: int
    fields: Fields
    start: int = 0
    count: int = 0


class Representation:
    """A file as it is served: its size in bytes, validators, and the fields that go with it.

    `always` are fields that also go with 304. The entity tag is weak while the file could be modified once more without
    another time (§8.8.1), and names the coding, since each coding is a representation of its own.
    """

    __slots__ = ("_always", "_whole", "content_fields", "lines", "size", "validators")

    def __init__(
        self, size: int, modified_ns: int, now: float, content_fields: Fields, always: Fields, coding: str = ""
    ) -> None:
        modified = max(0, min(modified_ns // 1_000_000_000, int(now)))
        is_settled = now - modified_ns / 1e9 >= 1
        etag = f'{"" if is_settled else "W/"}"{modified_ns:x}-{size:x}{"-" if coding else ""}{coding}"'
        self.size = size
        self.validators = Validators(etag, modified)
        self.content_fields = content_fields
        self._always: Fields = [("ETag", etag), ("Last-Modified", date_text(modified)), *always]
        self._whole: Fields = [*content_fields, ("Content-Length", str(size)), *self._always, _ACCEPT_RANGES, _NOSNIFF]
        #: The fields of the answer with all of the file, as they stand in a head.
        self.lines: FieldLines = "".join([f"{name}: {value}\r\n" for name, value in self._whole]).encode(), False, size

    def answer(self, method: str, asked: Mapping[str, str], now: float) -> FileAnswer:
        """The answer to a GET or HEAD. `asked` has the fields of ASKED by names in small letters."""
        if asks_for_all(asked):
            return self.whole()
        failed = preconditions.failed_status(asked, self.validators, now)
        if failed == 304:
            return FileAnswer(304, self._always)
        if failed == 412:
            return FileAnswer(412, [("Content-Length", "0"), *self._always])
        if method != "GET" or "range" not in asked or not preconditions.range_applies(asked, self.validators, now):
            return self.whole()
        try:
            part = byte_range(asked["range"], self.size)
        except UnsatisfiableRange:
            refused: Field = ("Content-Range", f"bytes */{self.size}")
            return FileAnswer(416, [refused, ("Content-Length", "0"), *self._always])
        if part is None:
            return self.whole()
        start, count = part
        span: Field = ("Content-Range", f"bytes {start}-{start + count - 1}/{self.size}")
        length: Field = ("Content-Length", str(count))
        fields = [*self.content_fields, length, span, *self._always, _ACCEPT_RANGES, _NOSNIFF]
        return FileAnswer(206, fields, start, count)

    def whole(self, status: int = 200) -> FileAnswer:
        """The answer with all of the file."""
        return FileAnswer(status, self._whole, 0, self.size)


def asked_of(fields: Fields) -> dict[str, str]:
    """The fields of ASKED of a request, by names in small letters, with the values of repeated ones joined (§5.3)."""
    asked: dict[str, str] = {}
    names = _ASKED_NAMES
    for name, value in fields:
        key = names[name]
        if key is not None:
            asked[key] = f"{asked[key]}, {value}" if key in asked else value
    return asked


def asks_for_all(asked: Mapping[str, str]) -> bool:
    """Whether a request with these fields of ASKED gets the whole file, without conditions."""
    return _CONDITIONS.isdisjoint(asked)
