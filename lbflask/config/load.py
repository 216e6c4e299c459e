"""Reads the configuration: defaults, then the TOML files, then the environment, which takes precedence.

An error is one line with the source (file and line, or variable), the key and the value; a configuration with an error
does not take effect at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lbflask.config.backends import BackendConfig, BackendsFileConfig
from lbflask.config.documents import Document, Documents, UnusableDocument, directory, nearest_place, parsed
from lbflask.config.files import UnusableFile, read_bytes, read_text
from lbflask.config.paths import anchored, type_of
from lbflask.config.schema import Config, tables_by_name, tables_of
from lbflask.config.validation_errors import first_error, instead, steps_of, with_route
from lbflask.core.printable import printable

PREFIX = "LBFLASK_"
DEFAULT_FILE = "lbflask.toml"
#: Read by the command line, by tracing (telemetry/debug.py), by the build (setup.py) or by the tests, not settings.
_OTHER_VARIABLES = frozenset(
    {"LBFLASK_CONFIG", "LBFLASK_ADMIN_URL", "LBFLASK_ADMIN_TOKEN", "LBFLASK_ADMIN_TOKEN_FILE", "LBFLASK_DEBUG"}
    | {"LBFLASK_COMPILE"}
)


_current: Config | None = None


class ConfigError(Exception):
    """The configuration is invalid; the message is the line to show."""


def current() -> Config:
    """The configuration of this process: read once, and inherited by forked workers. Raises ConfigError."""
    return _current if _current is not None else reload()


def reload() -> Config:
    """Read the configuration anew and make it this process's; on an error the old one stays. Raises ConfigError."""
    return adopt(load())


def adopt(config: Config) -> Config:
    """Make a configuration that of this process, and of processes that it forks from now on."""
    global _current  # noqa: PLW0603 - the one place that holds it
    _current = config
    return config


def load(environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration from `LBFLASK_CONFIG` (default: `lbflask.toml` here, if there is one) and `LBFLASK_…`.

    Raises ConfigError.
    """
    documents = _documents(environ)
    values = documents.values
    sources: dict[tuple[str, ...], str] = {}
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in _OTHER_VARIABLES:
            key = tuple(variable.removeprefix(PREFIX).lower().split("__"))
            shown = printable(variable)
            if not _is_text(environ[variable]):
                raise ConfigError(f"{shown}: is not UTF-8 text")
            _put(values, key, environ[variable], shown)
            sources[key] = shown
    if "backends" not in values and not values.get("pools") and not values.get("discovery"):
        raise ConfigError(
            f"backends: none are configured; set them in {documents.path} (`lbflask init` writes one) or as "
            "LBFLASK_BACKENDS=http://host:port,…"
        )
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        found = first_error(error, Config, documents.place, sources)
        raise ConfigError(printable(with_route(found, values))) from None


def place_of(key: str, environ: Mapping[str, str] = os.environ) -> str:
    """The source of a setting such as `tls.key`: its variable, or the file and the line. Raises ConfigError."""
    variable = PREFIX + key.upper().replace(".", "__")
    if variable in environ:
        return variable
    return _documents(environ).place(steps_of(key))


def admin_bind(environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """`admin_bind`, and the variable or file that sets it, empty for the default. Ignores errors in other settings."""
    variable = f"{PREFIX}ADMIN_BIND"
    kind = type_of(Config.model_fields["admin_bind"])
    if variable in environ:
        return str(anchored(environ[variable], kind, Path())), variable
    try:
        documents = _documents(environ)
    except ConfigError:
        documents = Documents(_path(environ))
    value = documents.values.get("admin_bind")
    if isinstance(value, str):
        return value, str(documents.path)
    return str(Config.model_fields["admin_bind"].default), ""


def sources(environ: Mapping[str, str] = os.environ) -> str:
    """The sources that `load` reads, in one line: the file, if there is one, how many it includes, and the names of the
    variables.
    """
    path = _path(environ)
    variables = [name for name in sorted(environ) if name.startswith(PREFIX) and name not in _OTHER_VARIABLES]
    try:
        included = len(list(_documents(environ))) - 1
    except ConfigError:
        included = 0
    more = f" (with {included} included)" if included > 0 else ""
    parts = [f"{path.absolute()}{more}"] if environ.get("LBFLASK_CONFIG") or path.exists() else []
    found = " and ".join([*parts, ", ".join(variables)] if variables else parts) or "the defaults"
    return printable(found)


def _is_text(value: str) -> bool:
    """Whether the value of a variable is UTF-8: Python has a surrogate for each byte that is not."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _documents(environ: Mapping[str, str]) -> Documents:
    """The files. Raises ConfigError."""
    documents = Documents(_path(environ))
    if environ.get("LBFLASK_CONFIG") or documents.path.exists():
        try:
            documents.add(documents.path, _text(documents.path), Config, environ)
        except UnusableDocument as error:
            raise ConfigError(printable(str(error))) from None
    return documents


def _path(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("LBFLASK_CONFIG") or DEFAULT_FILE)


def _text(path: Path) -> str:
    try:
        return read_text(path, pipes=True)
    except UnusableFile as error:
        raise ConfigError(f"{path}: {error}") from None


def read_backends(path: Path) -> tuple[BackendConfig, ...]:
    """The backends in a separate file: JSON if its name ends in .json, else TOML. Raises ConfigError."""
    try:
        is_json = path.suffix == ".json"
        text = "" if is_json else read_text(path)
        values = _parsed_json(read_bytes(path), path) if is_json else parsed(text, path)
    except UnusableFile as error:
        raise ConfigError(f"{path}: {error}") from None
    except UnusableDocument as error:
        raise ConfigError(str(error)) from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must be a list of backends, or a table with `backends`")
    try:
        return BackendsFileConfig.model_validate(anchored(values, BackendsFileConfig, directory(path))).backends
    except ValidationError as error:
        documents = [Document(path, text, {})]

        def place(steps: Sequence[Any]) -> str:
            return nearest_place(documents, steps) or str(path)

        raise ConfigError(printable(first_error(error, BackendsFileConfig, place, {}))) from None


def _parsed_json(content: bytes, path: Path) -> Any:
    try:
        values = json.loads(content)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: is not JSON: {error.msg} (at line {error.lineno}, column {error.colno})") from None
    except ValueError as error:  # a number with too many digits
        raise ConfigError(f"{path}: is not JSON: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None
    return {"backends": values} if isinstance(values, list) else values


def _put(values: dict[str, Any], key: tuple[str, ...], value: str, variable: str) -> None:
    *sections, last = key
    where: type[BaseModel] = Config
    by_name: type[BaseModel] | None = None  # of the table whose free name is the next step
    inside: Any = values
    for section in sections:
        if by_name is not None:
            where, by_name = by_name, None
        else:
            by_name, inner = tables_by_name(where).get(section), tables_of(where).get(section)
            if by_name is None and inner is None and section in where.model_fields:
                name = ".".join(key)
                raise ConfigError(f"{variable}: there is no setting {name!r}: {section!r} can only be set as a whole")
            if by_name is None and inner is None:
                raise ConfigError(f"{variable}: there is no setting {'.'.join(key)!r}{instead(where, [section])}")
            where = inner or where
        inside = inside.setdefault(section, {})
        if not isinstance(inside, dict):
            return  # the model rejects it, and names the source
    fields = {field.alias or name: field for name, field in where.model_fields.items()}
    if by_name is None and last in tables_by_name(where):
        raise ConfigError(f"{variable}: is the name of several tables; {variable}__NAME__KEY sets a key of one")
    if by_name is not None or last not in fields:
        raise ConfigError(f"{variable}: there is no setting {'.'.join(key)!r}{instead(where, [last])}")
    found = anchored(value, type_of(fields[last]), Path())
    inside[last] = None if value == "" and last == "redis_url" else found
