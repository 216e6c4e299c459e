"""The possible readings of a path by servers, for the choice of a route. The path is forwarded unchanged.

Servers read a path differently: one resolves `..`, another decodes `%2F` to a slash, a third cuts parameters after `;`.
A route that is chosen by one reading could be bypassed by another one, so that all readings are compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

#: Whether a path can be read in another way than byte for byte.
is_odd = re.compile(r"[%\\;]|//|/\.\.?(?:/|$)").search

_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
#: An encoded sign that would be another thing if it were not: it stays apart, outside of the bytes that a path has.
_APART = {"2F": "\ue02f", "5C": "\ue05c", "3B": "\ue03b", "3F": "\ue03f", "23": "\ue023", "00": "\ue000"}
_PARAMETERS = re.compile("[;\ue03b][^/]*")
_ENDS = re.compile("[\ue000\ue023\ue03f].*", re.DOTALL)
_SLASHES = re.compile("//+")
_DOTS = re.compile(r"/\.\.?(?:/|$)").search


def plain_path(path: str) -> str:
    """The path with its percent-encoding undone (RFC 3986 §6.2.2), but for signs that would part it."""
    return _ENCODED.sub(lambda found: _APART.get(found[1].upper()) or chr(int(found[1], 16)), path)


def readings(path: str) -> Iterator[str]:
    """All that a path can mean: first as it stands, then as servers read it that undo encoded slashes, take backslashes
    for slashes, end at an encoded `?`, `#` or NUL, cut parameters (RFC 3986 §3.3), merge slashes, or resolve dot
    segments (§5.2.4), in any combination and order.
    """
    found = [plain_path(path)]
    known = set(found)
    for text in found:  # which grows meanwhile
        yield text
        for step in _STEPS:
            read = step(text)
            if read not in known:
                known.add(read)
                found.append(read)


def without_dots(path: str) -> str:
    """The path with its dot segments resolved (RFC 3986 §5.2.4)."""
    if not _DOTS(path):
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    ends_open = segments[-1] in (".", "..")
    return "/" + "/".join(kept) + ("/" if ends_open and kept else "")


_STEPS: tuple[Callable[[str], str], ...] = (
    lambda path: path.replace("\ue02f", "/").replace("\ue05c", "\\"),
    lambda path: path.replace("\\", "/"),
    lambda path: _ENDS.sub("", path),
    lambda path: _PARAMETERS.sub("", path),
    lambda path: _SLASHES.sub("/", path),
    without_dots,
)


def segments_of(prefix: str) -> int:
    """How many segments a prefix without a slash at its end has."""
    return prefix.count("/")


def with_prefix(target: str, segments: int, prefix: str) -> str:
    """The target (origin-form) with another prefix in place of so many of its first segments; all else byte for byte.

    What would be left without a path gets `/` (RFC 9112 §3.2.1).
    """
    if not target.startswith("/"):
        return target
    path, mark, query = target.partition("?")
    kept = path.split("/")[segments + 1 :]
    return ("/".join([prefix, *kept]) or "/") + mark + query
