"""Configuration of the action `files` of a route (docs/how-to/static-files.md)."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from lbflask.config.field_types import Listed, Section, required
from lbflask.config.files import UnusableFile, check_directory
from lbflask.config.paths import FilePath
from lbflask.core.http.file_paths import file_name, relative_names
from lbflask.core.http.static_files import StaticFiles


def _is_index(name: str) -> bool:
    return file_name(name.encode()) is not None


def _is_dot_file(name: str) -> bool:
    return name.startswith(".") and file_name(name.encode(), (name,)) is not None and name not in (".", "..")


def _is_relative(path: str) -> bool:
    return not path or relative_names(path) is not None


_PRINTABLE = re.compile(r"[!-~](?:[ -~]*[!-~])?").fullmatch
IndexName = Annotated[str, required(_is_index, "must be the name of a file, without a slash")]
DotName = Annotated[str, required(_is_dot_file, "must be one name that begins with a dot, such as .well-known")]
RelativePath = Annotated[str, required(_is_relative, "must be the path of a file below the root, such as index.html")]
FileEnd = Annotated[
    str, required(re.compile(r"\.[a-z0-9_+-]+").fullmatch, "must be the end of names in small letters, such as .glb")
]
MediaType = Annotated[
    str,
    required(re.compile(r"[\w.+-]+/[\w.+-]+(?:; ?[\w.+-]+=[\w.+-]+)*", re.ASCII).fullmatch, "must be type/subtype"),
]
CacheControl = Annotated[
    str, required(lambda value: not value or _PRINTABLE(value), "must be of printable ASCII, such as max-age=3600")
]


class StaticFilesConfig(Section):
    """Files below a directory, for GET and HEAD. A path in place of the table is its `root`."""

    short_form: ClassVar[str] = "root"
    root: FilePath
    """The directory. Nothing outside of it is served, also not by links."""
    index: Listed[IndexName] = ("index.html",)
    """Names of files that are tried for a path that ends in a slash; none for no such answers."""
    fallback: RelativePath = ""
    """The file below the root for paths without one, as single-page applications need; not for names such as x.js."""
    keep_prefix: bool = False
    """Whether the path below the root includes `match.path`; else that is removed."""
    precompressed: bool = True
    """Whether siblings such as app.js.zst, .br and .gz are served to clients that accept them."""
    cache_control: CacheControl = ""
    """The value of `Cache-Control`, such as `public, max-age=31536000, immutable`; empty for none."""
    dot_files: Listed[DotName] = ()
    """Names with a dot at their begin that are served, such as `.well-known`; all others are not found."""
    types: dict[FileEnd, MediaType] = Field(default_factory=dict)
    """Media types by ends of names, besides the usual ones: `{ ".glb" = "model/gltf-binary" }`."""

    @model_validator(mode="before")
    @classmethod
    def _from_root(cls, value: Any) -> Any:
        return {"root": value} if isinstance(value, str) else value

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting."""
        check_root(f"{where}.root", self.root)

    def to_model(self) -> StaticFiles:
        """The files as a value of the core."""
        return StaticFiles(
            root=self.root,
            index=self.index,
            fallback=tuple(relative_names(self.fallback) or ()),
            keep_prefix=self.keep_prefix,
            precompressed=self.precompressed,
            cache_control=self.cache_control,
            dot_files=frozenset(self.dot_files),
            types=self.types,
        )


def check_root(where: str, path: str) -> None:
    """Raises ValueError, which names the setting, for a path that is no directory."""
    if not path:
        raise ValueError(f"{where}: must be a directory")
    try:
        check_directory(path)
    except UnusableFile as error:
        raise ValueError(f"{where}: {path!r} {error}") from None
