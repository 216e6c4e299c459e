"""Internal files: a backend's response that names a file instead of having one, by X-Accel-Redirect or X-Sendfile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from lbflask.core.http.file_paths import file_names, relative_names
from lbflask.core.http.types import Fields

#: The path of the file below a prefix, percent-encoded; and its path on the disk.
ACCEL_REDIRECT: Final = "x-accel-redirect"
SENDFILE: Final = "x-sendfile"
#: What describes the body of the backend's response, which no client gets.
_REPLACED: Final = frozenset(
    {ACCEL_REDIRECT, SENDFILE, "accept-ranges", "content-digest", "content-encoding", "content-length", "content-md5"}
    | {"content-range", "digest", "etag", "last-modified", "repr-digest", "trailer"}
)

#: A root, and the names below it.
FilePlace = tuple[str, list[str]]


def named_file(fields: Fields) -> tuple[str, str] | None:
    """The field of a response that names a file, in small letters, with its value; None for a response without one."""
    found = {name.lower(): value for name, value in fields if name.lower() in (ACCEL_REDIRECT, SENDFILE)}
    for name in (ACCEL_REDIRECT, SENDFILE):
        if name in found:
            return name, found[name]
    return None


def redirect_places(value: str, roots: Mapping[str, str]) -> list[FilePlace]:
    """Where the file of an X-Accel-Redirect may be, by the roots of prefixes; the longest prefix counts."""
    path = value.partition("?")[0]
    fitting = [prefix for prefix in roots if path.startswith(prefix.rstrip("/") + "/")]
    if not fitting:
        return []
    prefix = max(fitting, key=len)
    found = file_names(path, prefix.rstrip("/").count("/"), None)
    return [] if found is None or found[1] else [(roots[prefix], found[0])]


def sendfile_places(value: str, roots: Sequence[tuple[str, str]]) -> list[FilePlace]:
    """Where the file of an X-Sendfile may be: as the value stands, then as it is percent-decoded, since some frameworks
    encode it. `roots` are pairs of the path of a root and of the same as a value may begin.
    """
    text = value.encode("latin-1")
    places: list[FilePlace] = []
    for spelling in dict.fromkeys((text, unquote_to_bytes(text))):
        for root, beginning in roots:
            start = beginning.rstrip("/") + "/"
            path = spelling.decode("utf-8", "replace")
            names = relative_names(path.removeprefix(start), None) if path.startswith(start) else None
            if names is not None:
                places.append((root, names))
    return places


def with_file_fields(fields: Fields, file_fields: Fields) -> Fields:
    """The fields of the backend's response but those of its body, and those of the file that it does not have.

    Content-Type, Content-Disposition, Set-Cookie, Cache-Control and all others of the backend are kept.
    """
    kept = [field for field in fields if field[0].lower() not in _REPLACED]
    names = {name.lower() for name, _ in kept}
    return [*kept, *(field for field in file_fields if field[0].lower() not in names)]
