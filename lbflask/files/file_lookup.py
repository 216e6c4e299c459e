"""Finds the file for a request: as it is, or a precompressed sibling that the client accepts."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from lbflask.core.http.content_codings import SUFFIXES, accepted_codings
from lbflask.core.http.file_answers import Representation
from lbflask.core.http.media_types import media_type
from lbflask.core.http.types import Fields
from lbflask.files.document_root import DocumentRoot, IsDirectory, NoFile, OpenFile
from lbflask.files.file_cache import MOST_BYTES, FileCache
from lbflask.files.file_region import TruncatedFile, read_part

#: Seconds for which the result of a lookup is used again, without a system call, and how many are remembered.
RECENT: Final = 1.0
MOST_RECENT: Final = 256

_accepted = lru_cache(maxsize=256)(accepted_codings)


class ServedFile:
    """A file that was found: `content` is all of a small one; a larger one is open, and its user closes it. `is_held`:
    its content is in the cache.
    """

    __slots__ = ("content", "file", "is_held", "representation")

    def __init__(
        self, representation: Representation, content: bytes, file: OpenFile | None = None, is_held: bool = False
    ) -> None:
        self.representation = representation
        self.content = content
        self.file = file
        self.is_held = is_held


class FileLookup:
    """The files below a directory. `types` and `cache_control` as of StaticFiles."""

    def __init__(
        self,
        root: DocumentRoot,
        cache: FileCache,
        *,
        precompressed: bool,
        types: Mapping[str, str],
        cache_control: str = "",
    ) -> None:
        self._root = root
        self._cache = cache
        #: What the lookups that share a cache answer alike by: the root, and what is stated of its files.
        self._scope = repr((root.path, sorted(types.items()), cache_control))
        self._precompressed = precompressed
        self._types = types
        self._recent: dict[tuple[str, str | None], tuple[float, ServedFile]] = {}
        self._always: Fields = [("Cache-Control", cache_control)] if cache_control else []

    def __repr__(self) -> str:
        return f"FileLookup({self._root!r})"

    def clock(self) -> float:
        """The time, in seconds since 1970, by which dates of files are judged."""
        return self._cache.clock()

    def find(self, names: Sequence[str], accept_encoding: str | None) -> ServedFile:
        """The file with these names, as it is or was within RECENT seconds. Raises NoFile, IsDirectory, TruncatedFile,
        OSError.
        """
        path, now = "/".join(names), self._cache.clock()
        recent = self._recent.get((path, accept_encoding))
        if recent is not None and 0 <= now - recent[0] < RECENT:
            return recent[1]
        found = self._found(path, names, accept_encoding)
        if found.is_held:
            if len(self._recent) >= MOST_RECENT:
                self._recent.clear()
            self._recent[path, accept_encoding] = (now, found)
        return found

    def _found(self, path: str, names: Sequence[str], accept_encoding: str | None) -> ServedFile:
        siblings = self._siblings(path) if self._precompressed and names else []
        if siblings:
            for coding in _accepted(accept_encoding):
                found = self._compressed(path, names, coding) if coding in siblings else None
                if found is not None:
                    return found
        return self._served(path, names, "", names[-1] if names else "", bool(siblings))

    def _siblings(self, path: str) -> list[str]:
        """The codings of the precompressed files that seem to be there."""
        exists = self._root.exists
        return [coding for coding, suffix in SUFFIXES.items() if exists(path + suffix)]

    def _compressed(self, path: str, names: Sequence[str], coding: str) -> ServedFile | None:
        """The sibling of the file, if it is not older than the file, which would be another content."""
        suffix = SUFFIXES[coding]
        plain, sibling = self._root.status(path), self._root.status(path + suffix)
        if plain is None or sibling is None or not stat.S_ISREG(plain.st_mode) or not stat.S_ISREG(sibling.st_mode):
            return None
        if sibling.st_mtime_ns < plain.st_mtime_ns:
            return None
        try:
            return self._served(path + suffix, [*names[:-1], names[-1] + suffix], coding, names[-1], True, sibling)
        except (NoFile, IsDirectory, TruncatedFile, OSError):  # such as a link out of the root, or one not to be read
            return None

    def _served(
        self,
        path: str,
        names: Sequence[str],
        coding: str,
        name: str,
        varies: bool,
        status: os.stat_result | None = None,
    ) -> ServedFile:
        """The file at the path; `name` is what its type goes by, `status` what is known of it."""
        key = (self._scope, path, coding, varies)
        status = status or self._root.status(path)
        cached = None if status is None else self._cache.find(key, status)
        if cached is not None:
            return ServedFile(cached.representation, cached.content, is_held=True)
        file = self._root.open(names)
        try:
            representation = self._representation(file.status, coding, name, varies)
            if file.status.st_size > MOST_BYTES:
                return ServedFile(representation, b"", file)
            content = read_part(file, 0, file.status.st_size)
        except BaseException:
            file.close()
            raise
        file.close()
        is_held = self._cache.add(key, file.status, content, representation)
        return ServedFile(representation, content, is_held=is_held)

    def _representation(self, status: os.stat_result, coding: str, name: str, varies: bool) -> Representation:
        fields: Fields = [("Content-Type", media_type(name, self._types))]
        if coding:
            fields.append(("Content-Encoding", coding))
        always = [*self._always, ("Vary", "Accept-Encoding")] if varies else self._always
        return Representation(status.st_size, status.st_mtime_ns, self._cache.clock(), fields, always, coding)
