"""Paths of requests as names of files below a directory. Whatever could be read in two ways names no file."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import unquote_to_bytes

#: Bytes of a name, and of a path, that file systems take (NAME_MAX and PATH_MAX of Linux).
MOST_NAME: Final = 255
MOST_PATH: Final = 4095

#: A path that is nothing but names that need no decoding.
_PLAIN: Final = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,200})+")
_BAD_ENCODING: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BAD_NAME: Final = re.compile(r"[\x00-\x1f\x7f/\\]")


def file_names(path: str, skipped: int, dot_files: Collection[str] | None) -> tuple[list[str], bool] | None:
    """The names of the directories and of the file that a path (origin-form, as received, without query) stands for,
    without its first `skipped` segments; and whether it ends in a slash.

    None for a path that names nothing: encodings that are malformed or no UTF-8, control characters, an encoded slash,
    a backslash, empty segments, `.` and `..`, names that begin with a dot and are not in `dot_files` (None allows
    all), and what is longer than names may be.
    """
    if len(path) <= MOST_PATH and _PLAIN.fullmatch(path) is not None:
        return path.split("/")[skipped + 1 :], False
    if len(path) > 3 * MOST_PATH or not path.startswith("/") or _BAD_ENCODING.search(path):
        return None
    segments = path.split("/")[skipped + 1 :]
    is_directory = path.endswith("/")
    if segments and is_directory:
        segments.pop()
    names: list[str] = []
    for segment in segments:
        name = file_name(unquote_to_bytes(segment.encode("latin-1")), dot_files)
        if name is None:
            return None
        names.append(name)
    return (names, is_directory) if sum(map(_bytes, names)) + len(names) <= MOST_PATH else None


def file_name(encoded: bytes, dot_files: Collection[str] | None = ()) -> str | None:
    """The name that these bytes are; None for none."""
    try:
        name = encoded.decode()
    except UnicodeDecodeError:
        return None
    if not name or len(encoded) > MOST_NAME or _BAD_NAME.search(name) is not None:
        return None
    if name in (".", "..") or (name.startswith(".") and dot_files is not None and name not in dot_files):
        return None
    return name


def relative_names(path: str, dot_files: Collection[str] | None = ()) -> list[str] | None:
    """The names of a path in the configuration or in a field of a backend, which is not encoded; None for none."""
    names = [file_name(part.encode("utf-8", "surrogatepass"), dot_files) for part in path.split("/")]
    known = [name for name in names if name is not None]
    return known if len(known) == len(names) and sum(map(_bytes, known)) + len(known) <= MOST_PATH else None


def _bytes(name: str) -> int:
    return len(name.encode())
