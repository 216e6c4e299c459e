"""The files of a configuration: the one that is named, and those that it includes, as one tree of values.

Tables of several files are merged, and the lists of JOINED are joined in the order of the files. Any other key has one
file: a second one is an error. Relative paths start from the directory of the file that has them.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lbflask.config.files import UnusableFile, read_text
from lbflask.config.paths import anchored
from lbflask.config.toml_location import key_of, line_of
from lbflask.config.variables import UnusableVariable, expanded
from lbflask.core.printable import printable

#: The key with the names or patterns of further files.
INCLUDE = "include"
#: Lists of tables at the top level to which each file adds its own.
JOINED = ("listeners", "routes")
#: What some editors put before the first character.
_MARK = "\ufeff"
#: Files of one configuration, and how deep an included file may include others.
MAX_FILES = 1000
MAX_DEPTH = 8


class UnusableDocument(ValueError):
    """A file of a configuration cannot be used; the message begins with the file, and the line if there is one."""


@dataclass(frozen=True)
class Document:
    """One file. `offsets` are the numbers that the first table of each of its lists has in the whole configuration."""

    path: Path
    text: str
    offsets: Mapping[str, int]

    def place(self, steps: Sequence[str | int]) -> str:
        """The file and the line in which the key has its value; empty if it is not there."""
        if len(steps) > 1 and isinstance(steps[1], int) and steps[0] in self.offsets:
            number = steps[1] - self.offsets[str(steps[0])]
            if number < 0:
                return ""
            steps = [steps[0], number, *steps[2:]]
        line = line_of(self.text, steps)
        return f"{self.path}:{line}" if line else ""


class Documents:
    """The files, in the order in which they are read, with their merged `values`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Any] = {}
        self._files: list[Document] = []

    def __iter__(self) -> Iterator[Document]:
        return iter(self._files)

    def __repr__(self) -> str:
        return f"Documents({', '.join(str(file.path) for file in self._files)})"

    def place(self, steps: Sequence[str | int]) -> str:
        """The file and the line in which a key has its value, or else the innermost table that should have it; the file
        that was named if there is none.
        """
        return nearest_place(self._files, steps) or str(self.path)

    def add(self, path: Path, text: str, kind: type[BaseModel], environ: Mapping[str, str]) -> None:
        """Read a text with settings of this type as a file, and all files that it includes. Raises UnusableDocument."""
        self._add(path, text, kind, environ, ())

    def _add(
        self, path: Path, text: str, kind: type[BaseModel], environ: Mapping[str, str], above: tuple[Path, ...]
    ) -> None:
        text = text.removeprefix(_MARK)
        values = parsed(text, path)
        try:
            values = expanded(values, environ)
        except UnusableVariable as error:
            raise UnusableDocument(
                f"{_place(path, text, error.steps)}: {key_of(error.steps)}: {error.reason}"
            ) from None
        names = values.pop(INCLUDE, [])
        if not (isinstance(names, list) and all(isinstance(name, str) and name for name in names)):
            raise UnusableDocument(f"{_place(path, text, [INCLUDE])}: include: must be a list of names of files")
        values = anchored(values, kind, directory(path))
        file = Document(path, text, {key: _length(self.values.get(key)) for key in JOINED})
        self._merge(file, values, self.values, ())
        self._files.append(file)
        for number, name in enumerate(names):
            place = _place(path, text, [INCLUDE, number])
            for included in self._included(name, path, place, (*above, path)):
                try:
                    content = read_text(included)
                except UnusableFile as error:
                    raise UnusableDocument(f"{place}: include: {included}: {error}") from None
                self._add(included, content, kind, environ, (*above, path))

    def _included(self, name: str, path: Path, place: str, above: tuple[Path, ...]) -> list[Path]:
        """The files that a name or a pattern stands for, sorted. A pattern may fit none."""
        try:
            found = _matching(directory(path) / name)
        except ValueError as error:
            raise UnusableDocument(f"{place}: include: {printable(name)} names no files: {error}") from None
        if len(above) > MAX_DEPTH:
            raise UnusableDocument(f"{place}: include: files include files more than {MAX_DEPTH} deep")
        if len(self._files) + len(found) > MAX_FILES:
            raise UnusableDocument(f"{place}: include: {name!r} makes more than {MAX_FILES} files")
        read = {os.path.realpath(file.path) for file in self._files}
        for one in found:
            if os.path.realpath(one) in read:
                raise UnusableDocument(f"{place}: include: {one} is read already")
        return found

    def _merge(self, file: Document, new: dict[str, Any], into: dict[str, Any], steps: tuple[str, ...]) -> None:
        for key, value in new.items():
            if key not in into:
                into[key] = value
                continue
            old = into[key]
            if isinstance(old, dict) and isinstance(value, dict):
                self._merge(file, value, old, (*steps, key))
            elif not steps and key in JOINED and isinstance(old, list) and isinstance(value, list):
                old.extend(value)
            else:
                named = ".".join((*steps, key))
                here = file.place([*steps, key]) or file.path
                raise UnusableDocument(f"{here}: {named}: {self.place([*steps, key])} sets it too")


def nearest_place(files: Sequence[Document], steps: Sequence[str | int]) -> str:
    """The file and the line of a key, or else of the innermost table that should have it; empty if none is there."""
    known = (steps[:count] for count in range(len(steps), 0, -1))
    return next((place for some in known for file in files if (place := file.place(some))), "")


def _matching(path: Path) -> list[Path]:
    """The files that an absolute path stands for, sorted if it is a pattern. Raises ValueError for what is neither."""
    if "\0" in str(path):
        raise ValueError("a path has no NUL")
    if not any(sign in str(path) for sign in "*?["):
        return [path]
    if any("**" in part and part != "**" for part in path.parts):  # newer versions of Python take it for one star
        raise ValueError("** stands for directories, and must be a whole part of the path")
    return sorted(one for one in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if not one.is_dir())


def _length(value: Any) -> int:
    """Of a list; 0 for what should be one and is none, which the validation rejects."""
    return len(value) if isinstance(value, list) else 0


def directory(path: Path) -> Path:
    """The absolute directory of a file, without `..`. Links are not resolved, since they may be changed."""
    found = path.parent.absolute()
    return Path(os.path.realpath(found)) if ".." in found.parts else found


def parsed(text: str, path: Path) -> dict[str, Any]:
    """The values of a text in TOML. Raises UnusableDocument."""
    try:
        return tomllib.loads(text)
    except ValueError as error:  # that of TOML, or a number of too many digits
        reason, _, place = str(error).partition(" (at line ")
        line, _, column = place.rstrip(")").partition(", column ")
        if column:
            raise UnusableDocument(f"{path}:{line}: is not TOML: {reason} (column {column})") from None
        raise UnusableDocument(f"{path}: is not TOML: {error}") from None
    except RecursionError:
        raise UnusableDocument(f"{path}: is nested too deeply") from None


def _place(path: Path, text: str, steps: Sequence[str | int]) -> str:
    return Document(path, text, {}).place(steps) or str(path)
