"""Rules of compression: which responses are compressed on their way to a client, by which content coding, and what that
changes in their fields (RFC 9110 §8.4, §8.8.1, §12.5.3).

A response that is compressed here is another representation than the one of its backend: equivalent, but not byte for
byte. So a strong entity tag becomes a weak one, and ranges and digests of the content no longer apply.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from lbflask.core.http.content_codings import accepted_codings
from lbflask.core.http.field_names import NameCache, NameTable, decimal, members
from lbflask.core.http.framing import MAX_LENGTH
from lbflask.core.http.media_types import EVENT_STREAM, bare_type
from lbflask.core.http.types import Fields

#: The media types that are compressed unless others are configured: texts, and formats that are mostly text.
TEXTUAL_TYPES: Final = (
    "text/*",
    "application/*+json",
    "application/*+xml",
    "application/javascript",
    "application/json",
    "application/rtf",
    "application/toml",
    "application/wasm",
    "application/x-ndjson",
    "application/xml",
    "application/yaml",
    "image/svg+xml",
)
#: Longer values of Accept-Encoding and Content-Type are judged anew for each response, so that caches stay small.
MOST_CACHED: Final = 128

#: An entity tag, and whether it is weak. A strong one is read as a whole too, since it may end in `W/`.
_TAG: Final = re.compile(r'(?<![^ 	,])(W/)?("[^"]*")')
#: Statuses without a body; and 206, whose bytes are those of a range.
_NEVER: Final = frozenset({204, 205, 206, 304})

_ETAG: Final = "etag"
_LENGTH: Final = "length"
_TYPE: Final = "type"
_CONTROL: Final = "control"
_VARY: Final = "vary"
_CODED: Final = "coded"  # such a response is not compressed
_BYTES: Final = "bytes"  # what states something of the bytes as they were
_ROLES: Final[NameTable[str]] = NameTable(
    dict.fromkeys(("accept-ranges", "content-md5", "digest", "content-digest", "repr-digest"), _BYTES)
    | dict.fromkeys(("content-encoding", "content-range"), _CODED)
    | {
        "content-length": _LENGTH,
        "content-type": _TYPE,
        "cache-control": _CONTROL,
        "etag": _ETAG,
        "vary": _VARY,
    }
)


class ContentEncoder(Protocol):
    """Codes the content of one response, piece by piece."""

    def encode(self, data: bytes, /) -> bytes:
        """What is ready of the coded content, with this piece of the content; often nothing."""
        ...

    def flush(self) -> bytes:
        """The rest of what the client needs to decode all pieces so far."""
        ...

    def finish(self) -> bytes:
        """The end of the coded content. No piece follows."""
        ...


@dataclass(frozen=True, slots=True)
class CompressionPolicy:
    """Which responses are compressed: of these types, with at least so many bytes where a length is stated.

    `levels` has the codings, the preferred one first, each with its level. A type is `type/subtype`, in small letters,
    or has a `*` at the begin of its subtype, which stands for any characters.
    """

    levels: Mapping[str, int]
    types: tuple[str, ...] = TEXTUAL_TYPES
    least: int = 1024


class CompressionRules:
    """The rules by one policy, with caches of what values of fields mean. Threads and greenlets may share it."""

    def __init__(self, policy: CompressionPolicy) -> None:
        self._policy = policy
        self._patterns = [_pattern(text) for text in policy.types]
        self._codings: NameCache[str] = NameCache(self._coding)
        self._kinds: NameCache[str] = NameCache(self._kind)

    def __repr__(self) -> str:
        return f"CompressionRules({self._policy})"

    def edited(self, status: int, asked: Fields, fields: Fields) -> tuple[Fields, str]:
        """The fields of a response, and the coding of its content, empty for the content as it is. `asked` are the
        fields of the request.
        """
        if status in _NEVER or status < 200:
            return (_not_modified(asked, fields) if status == 304 else fields), ""
        if not self._is_compressible(fields):
            return fields, ""
        accepted = ", ".join([value for name, value in asked if name.lower() == "accept-encoding"])
        coding = "" if _forbids_change(asked) else _cached(self._codings, self._coding, accepted)
        return (_coded(fields, coding) if coding else with_vary(fields)), coding

    def is_event_stream(self, fields: Fields) -> bool:
        """Whether a response with these fields consists of events."""
        return any(_ROLES[name] == _TYPE and bare_type(value) == EVENT_STREAM for name, value in fields)

    def _is_compressible(self, fields: Fields) -> bool:
        is_of_type = False
        for name, value in [field for field in fields if _ROLES[field[0]]]:
            role = _ROLES[name]
            if role == _CODED:
                return False
            if role == _LENGTH:
                length = decimal(value, MAX_LENGTH)
                if length is None or length < max(1, self._policy.least):
                    return False
            elif role == _TYPE:
                is_of_type = bool(_cached(self._kinds, self._kind, value))
        return is_of_type and not _forbids_change(fields)

    def _coding(self, accepted: str) -> str:
        return next(iter(accepted_codings(accepted, self._policy.levels)), "")

    def _kind(self, value: str) -> str:
        """The media type, if it is one of those that are compressed; else nothing."""
        kind = bare_type(value)
        main, _, sub = kind.partition("/")
        fits = any(
            main == ours and (sub.endswith(end) if is_any else sub == end) for ours, is_any, end in self._patterns
        )
        return kind if fits else ""


def with_strong_tags(fields: Fields) -> Fields:
    """The fields of a request, whose If-Match has strong entity tags only.

    A tag that was weakened here would never match at its backend, since If-Match compares by the strong comparison
    (RFC 9110 §13.1.1). For the same reason a weak tag of the backend does not match when it is written as a strong one.
    """
    return [(name, _TAG.sub(r"\2", value)) if name.lower() == "if-match" else (name, value) for name, value in fields]


def without_digests(trailers: Fields) -> Fields:
    """The trailer fields of a response whose content was coded here: without digests of the content as it was."""
    return [field for field in trailers if _ROLES[field[0]] != _BYTES]


def with_vary(fields: Fields) -> Fields:
    """The fields with a Vary that lists Accept-Encoding (RFC 9110 §12.5.5), in the last one that there is."""
    lines = [number for number, field in enumerate(fields) if _ROLES[field[0]] == _VARY]
    listed = {member.lower() for member in members([fields[number][1] for number in lines])}
    if listed & {"*", "accept-encoding"}:
        return fields
    if not lines:
        return [*fields, ("Vary", "Accept-Encoding")]
    name, value = fields[lines[-1]]
    joined = f"{value}, Accept-Encoding" if value.strip() else "Accept-Encoding"
    return [*fields[: lines[-1]], (name, joined), *fields[lines[-1] + 1 :]]


def _coded(fields: Fields, coding: str) -> Fields:
    """The fields of a response whose content is coded here."""
    kept: Fields = []
    for field in fields:
        role = _ROLES[field[0]]
        if role == _ETAG:
            kept.append((field[0], _weak(field[1])))
        elif role not in (_LENGTH, _BYTES):
            kept.append(field)
    return with_vary([*kept, ("Content-Encoding", coding)])


def _not_modified(asked: Fields, fields: Fields) -> Fields:
    """The fields of a 304, for a client that has what was compressed: then it names the weakened tag, and updates only
    what it stored with the same one (RFC 9111 §4.3.4).
    """
    named = [value for name, value in asked if name.lower() == "if-none-match"]
    for number, (name, value) in enumerate(fields):
        if _ROLES[name] == _ETAG and value.startswith('"') and any(f"W/{value}" in one for one in named):
            return with_vary([*fields[:number], (name, _weak(value)), *fields[number + 1 :]])
    return fields


def _forbids_change(fields: Fields) -> bool:
    """Whether the fields, of a request or of a response, ask for the content as it is (RFC 9111 §5.2.1.6, §5.2.2.6)."""
    return any(_ROLES[name] == _CONTROL and "no-transform" in value.lower() for name, value in fields)


def _weak(etag: str) -> str:
    return f"W/{etag}" if etag.startswith('"') else etag


def _pattern(text: str) -> tuple[str, bool, str]:
    """The type, whether the subtype may have any begin, and the subtype or its end."""
    main, _, sub = text.partition("/")
    return main, sub.startswith("*"), sub.removeprefix("*")


def _cached(cache: NameCache[str], judge: Callable[[str], str], text: str) -> str:
    return cache[text] if len(text) <= MOST_CACHED else judge(text)
