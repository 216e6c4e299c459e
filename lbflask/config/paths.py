"""Settings that name files, and the base directory of relative paths.

A path in a configuration file starts from the directory of that file, a path in the environment from the working
directory. Which settings are paths is known by their type: one of the types below, at any depth of tables, lists and
tables of free names. A configuration holds absolute paths only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import quote, unquote

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

#: The longest path of a socket address on Linux, without the final NUL (unix(7)); elsewhere it is slightly shorter.
SOCKET_PATH_BYTES = 107
#: Parameters of a store's URL that name files.
_FILES_OF_STORE = frozenset({"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"})


@dataclass(frozen=True, slots=True)
class Anchor:
    """Marks a type, as metadata of `Annotated`: `under` gives a value with its relative paths under a directory."""

    under: Callable[[str, Path], str]


def _file(value: str, directory: Path) -> str:
    """A path; empty names none."""
    return str(Path(directory, value).absolute()) if value and not value.startswith("/") else value


def _output(value: str, directory: Path) -> str:
    """A path, or `-` for standard output."""
    return value if value == "-" else _file(value, directory)


def _listener(value: str, directory: Path) -> str:
    """`unix:path`, `unix://path`, or an address, which names no file."""
    path = socket_path(value)
    return value if path is None else f"unix:{_file(path, directory)}"


def _local(schemes: Collection[str], value: str, directory: Path) -> str:
    """`scheme:path`, of one of the schemes. A value without a path, or with one that no file can have, is returned
    unchanged.
    """
    given, colon, path = value.partition(":")
    if not colon or given.lower() not in schemes or path.startswith("/") or path.endswith("/"):
        return value
    return f"{given}:{_file(path, directory)}"


def _store(value: str, directory: Path) -> str:
    """A URL of the store: `unix://user:password@path`, and files of TLS in its query, all percent-encoded."""
    place, mark, query = value.partition("?")
    scheme, separator, rest = place.partition("://")
    if scheme == "unix" and separator:
        user, at, path = rest.rpartition("@")
        place = f"unix://{user}{at}{_quoted(path, directory)}"
    pairs = (pair.partition("=") for pair in query.split("&"))
    parts = (
        name + sign + (_quoted(text, directory) if name in _FILES_OF_STORE else text) for name, sign, text in pairs
    )
    return place + mark + "&".join(parts)


def _quoted(path: str, directory: Path) -> str:
    found = _file(unquote(path), directory)
    return path if found == unquote(path) else quote(found)


def files_of_store(url: str) -> dict[str, str]:
    """The files that the URL of a store names in its query, by the name of the parameter."""
    pairs = (pair.partition("=") for pair in url.partition("?")[2].split("&"))
    return {name: unquote(text) for name, _, text in pairs if name in _FILES_OF_STORE - {"ssl_ca_path"}}


def absolute_path(text: str) -> str:
    """The path of a file after `unix:`, `uwsgi:` or `file:`, where `///path` is `/path` (RFC 8089 §2 has both forms for
    files). Empty for any other text.
    """
    path = text[2:] if text.startswith("///") else text
    usable = path.startswith("/") and not path.startswith("//") and not path.endswith("/") and path.isprintable()
    return path if usable else ""


def socket_path(address: str) -> str | None:
    """The path of `unix:path` or `unix://path`, with one slash at its begin at most; None for another address."""
    if not address.startswith("unix:"):
        return None
    path = address.removeprefix("unix:").removeprefix("//")
    return f"/{path.lstrip('/')}" if path.startswith("//") else path


#: A file. Relative ones become absolute as the module describes; empty names none.
FilePath = Annotated[str, Anchor(_file)]
#: The same, or `-` for standard output.
OutputPath = Annotated[str, Anchor(_output)]
LISTENER, STORE = Anchor(_listener), Anchor(_store)
#: A backend's `unix:path` or `uwsgi:path`, and a source of backends, `file:path`.
BACKEND, SOURCE = Anchor(partial(_local, ("unix", "uwsgi"))), Anchor(partial(_local, ("file",)))


def anchored(value: Any, kind: Any, directory: Path) -> Any:
    """The value of a setting of type `kind`, not yet validated, with its relative paths under the directory.

    A value that does not fit the type is returned unchanged, for the validation to reject.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if not _holds_paths(kind):
        return value
    if origin is Annotated:
        return _marked(value, inner[0], inner[1:], directory)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _table(value, path_fields(kind), getattr(kind, "short_form", ""), directory)
    if origin is dict and isinstance(value, Mapping):
        return {key: anchored(item, inner[1], directory) for key, item in value.items()}
    if origin in (list, tuple) and isinstance(value, (list, tuple)):
        return [anchored(item, inner[0], directory) for item in value]
    if origin in (Union, UnionType):
        for member in inner:
            value = anchored(value, member, directory)
    return value


def _table(value: Any, paths: Mapping[str, Any], short_form: str, directory: Path) -> Any:
    """A table, or a text in its place, which is the setting `short_form`."""
    if isinstance(value, Mapping):
        return {key: anchored(item, paths[key], directory) if key in paths else item for key, item in value.items()}
    return anchored(value, paths[short_form], directory) if short_form in paths else value


def _marked(value: Any, kind: Any, marks: tuple[Any, ...], directory: Path) -> Any:
    for mark in reversed(marks):
        if isinstance(mark, BeforeValidator):  # a list or a table that is written as one string
            try:
                value = mark.func(value)  # type: ignore[call-arg]
            except ValueError:
                return value
    value = anchored(value, kind, directory)
    for mark in marks:
        if isinstance(mark, Anchor) and isinstance(value, str):
            value = mark.under(value, directory)
    return value


@cache
def path_fields(kind: type[BaseModel]) -> Mapping[str, Any]:
    """The types of the settings of a table that are paths, or that hold some."""
    types = {name: type_of(field) for name, field in kind.model_fields.items()}
    return {name: type_ for name, type_ in types.items() if _holds_paths(type_)}


def type_of(field: FieldInfo) -> Any:
    """The type of a setting as it was declared."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _holds_paths(kind: Any) -> bool:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return bool(path_fields(kind))
    return any(isinstance(part, Anchor) or _holds_paths(part) for part in get_args(kind))
