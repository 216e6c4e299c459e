"""Static files as the action of a route: which file below a directory a request stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lbflask.core.http.file_paths import file_names
from lbflask.core.http.media_types import has_known_end

#: The methods of requests for files; others get 405 (RFC 9110 §15.5.6).
METHODS: Final = ("GET", "HEAD")


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFiles:
    """Files below the directory `root`, an absolute path.

    The path of a request names a file without the matched prefix, unless `keep_prefix`. `index` are the names that are
    tried for a directory; `fallback` is the file for paths without a file, as names below the root. `dot_files` are the
    names with a dot at their begin that are served. `types` are media types by ends of names, beside those of
    `media_types`; `cache_control` is the value of that field, empty for none.
    """

    root: str
    index: tuple[str, ...] = ("index.html",)
    fallback: tuple[str, ...] = ()
    keep_prefix: bool = False
    precompressed: bool = True
    cache_control: str = ""
    dot_files: frozenset[str] = frozenset()
    types: Mapping[str, str] = field(default_factory=dict)

    def names(self, target: str, segments: int) -> tuple[list[str], bool] | None:
        """The names that a request for the target (origin-form) stands for, and whether it asks for a directory, by a
        slash at its end. None for one that stands for no file. `segments` is the length of the matched prefix.
        """
        path = target.partition("?")[0]
        return file_names(path, 0 if self.keep_prefix else segments, self.dot_files)

    def falls_back(self, names: list[str]) -> bool:
        """Whether the fallback is the answer where no file has these names. It is not for a name with the end of a
        file: HTML in place of a missing script would hide that the script is missing.
        """
        return bool(self.fallback) and not (names and has_known_end(names[-1], self.types))

    def summary(self, target: str, segments: int) -> str:
        """One-line summary for `explain`, which opens no file."""
        found = self.names(target, segments)
        if found is None:
            return "404: the path names no file"
        names, is_directory = found
        path = "/".join([self.root.rstrip("/"), *names])
        if is_directory:
            path += f"/{' or '.join(self.index)}" if self.index else "/"
        fallback = f", else {'/'.join(self.fallback)}" if self.falls_back(names) else ""
        return f"file {path}{fallback}"
