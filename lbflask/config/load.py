"""Reads the configuration: defaults, then the TOML file, then the environment, which takes precedence.

An error is one line with the source (file and line, or variable), the key and the value; a configuration with an error
does not take effect at all.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lbflask.config.backends import BackendConfig, BackendsFileConfig
from lbflask.config.files import UnusableFile, read_bytes, read_text
from lbflask.config.paths import anchored, type_of
from lbflask.config.redaction import masked, without_secrets
from lbflask.config.schema import Config, tables_by_name, tables_of
from lbflask.config.toml_location import line_of

PREFIX = "LBFLASK_"
DEFAULT_FILE = "lbflask.toml"
#: Read by the command line, by tracing (telemetry/debug.py) or by the tests, not settings.
_OTHER_VARIABLES = frozenset(
    {"LBFLASK_CONFIG", "LBFLASK_ADMIN_URL", "LBFLASK_ADMIN_TOKEN", "LBFLASK_ADMIN_TOKEN_FILE", "LBFLASK_DEBUG"}
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
    path, text = _file(environ)
    values: dict[str, Any] = anchored(_parsed(text, path), Config, _directory(path))
    sources: dict[tuple[str, ...], str] = {}
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in _OTHER_VARIABLES:
            key = tuple(variable.removeprefix(PREFIX).lower().split("__"))
            _put(values, key, environ[variable], variable)
            sources[key] = variable
    if "backends" not in values and not values.get("pools") and not values.get("discovery"):
        raise ConfigError(
            f"backends: none are configured; set them in {path} or as LBFLASK_BACKENDS=http://host:port,…"
        )
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_located_errors(error, Config, str(path), sources, text)) from None


def place_of(key: str, environ: Mapping[str, str] = os.environ) -> str:
    """The source of a setting such as `tls.key`: its variable, or the file and the line. Raises ConfigError."""
    variable = PREFIX + key.upper().replace(".", "__")
    if variable in environ:
        return variable
    path, text = _file(environ)
    line = line_of(text, key.split("."))
    return f"{path}:{line}" if line else str(path)


def admin_bind(environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """`admin_bind`, and the variable or file that sets it, empty for the default. Ignores errors in other settings."""
    variable = f"{PREFIX}ADMIN_BIND"
    kind = type_of(Config.model_fields["admin_bind"])
    if variable in environ:
        return str(anchored(environ[variable], kind, Path())), variable
    path = _path(environ)
    try:
        value = _parsed(_text(path), path).get("admin_bind")
    except ConfigError:
        value = None
    if isinstance(value, str):
        return str(anchored(value, kind, _directory(path))), str(path)
    return str(Config.model_fields["admin_bind"].default), ""


def sources(environ: Mapping[str, str] = os.environ) -> str:
    """The sources that `load` reads, in one line: the file, if there is one, and the names of the variables."""
    path = _path(environ)
    variables = [name for name in sorted(environ) if name.startswith(PREFIX) and name not in _OTHER_VARIABLES]
    parts = [str(path.absolute())] if environ.get("LBFLASK_CONFIG") or path.exists() else []
    found = " and ".join([*parts, ", ".join(variables)] if variables else parts) or "the defaults"
    return "".join(sign if sign.isprintable() else "?" for sign in found)


def _file(environ: Mapping[str, str]) -> tuple[Path, str]:
    path = _path(environ)
    return path, _text(path) if environ.get("LBFLASK_CONFIG") or path.exists() else ""


def _path(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("LBFLASK_CONFIG") or DEFAULT_FILE)


def _directory(path: Path) -> Path:
    """The absolute directory of a file, without `..`. Links are not resolved, since they may be changed."""
    directory = path.parent.absolute()
    return directory.resolve() if ".." in directory.parts else directory


def _text(path: Path) -> str:
    try:
        return read_text(path, pipes=True)
    except UnusableFile as error:
        raise ConfigError(f"{path}: {error}") from None


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:  # that of TOML, or a number of too many digits
        raise ConfigError(f"{path}: is not TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None


def read_backends(path: Path) -> tuple[BackendConfig, ...]:
    """The backends in a separate file: JSON if its name ends in .json, else TOML. Raises ConfigError."""
    try:
        is_json = path.suffix == ".json"
        text = "" if is_json else read_text(path)
        values = _parsed_json(read_bytes(path), path) if is_json else _parsed(text, path)
    except UnusableFile as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must be a list of backends, or a table with `backends`")
    try:
        return BackendsFileConfig.model_validate(anchored(values, BackendsFileConfig, _directory(path))).backends
    except ValidationError as error:
        raise ConfigError(_located_errors(error, BackendsFileConfig, str(path), {}, text)) from None


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
            if by_name is None and inner is None:
                raise ConfigError(f"{variable}: there is no setting {'.'.join(key)!r}")
            where = inner or where
        inside = inside.setdefault(section, {})
        if not isinstance(inside, dict):
            return  # the model rejects it, and names the source
    if by_name is not None or last not in where.model_fields or last in tables_by_name(where):
        raise ConfigError(f"{variable}: there is no setting {'.'.join(key)!r}")
    found = anchored(value, type_of(where.model_fields[last]), Path())
    inside[last] = None if value == "" and last == "redis_url" else found


def _located_errors(
    error: ValidationError, kind: type[BaseModel], path: str, sources: Mapping[tuple[str, ...], str], text: str
) -> str:
    """The first error in settings of this type, as one line."""
    first = error.errors(include_url=False, include_context=False)[0]
    unknown = first["type"] == "extra_forbidden"
    # A step with a bracket is a type of pydantic, unless it is an unknown key.
    steps = [step for step in first["loc"] if unknown or not (isinstance(step, str) and "[" in step)]
    key = ""
    for step in steps:
        key += f"[{step}]" if isinstance(step, int) else f".{step}" if key else str(step)
    message = first["msg"].removeprefix("Value error, ")
    message = masked(message[:1].lower() + message[1:])
    if not key:  # it concerns several settings: the message begins with one of them
        keys = re.findall(r"[^.[\]]+", message.partition(":")[0])
        steps = [int(step) if step.isdigit() else step for step in keys]
    named = tuple(str(step) for step in steps)
    source = next((sources[named[:n]] for n in range(len(named), 0, -1) if named[:n] in sources), "")
    if not source:
        line = line_of(text, steps)
        source = f"{path}:{line}" if line else path
    if not key:
        return f"{source}: {message}"
    shown = _shown(first["input"], kind, steps[:-1] if first["type"] == "missing" else steps)
    if unknown:
        return f"{source}: there is no setting {key!r} (its value is {shown})"
    if first["type"] == "model_type":
        message = "must be a table"
    if first["type"] == "value_error" and shown in message:
        return f"{source}: {key}: {message}"
    return f"{source}: {key} = {shown}: {message}"


def _shown(value: Any, kind: type[BaseModel], steps: Sequence[Any]) -> str:
    """The value of the setting at these steps, in part if it is long. Secrets are masked at any step."""
    for step in reversed(steps):
        value = [value] if isinstance(step, int) else {step: value}
    value = without_secrets(value, kind)
    for step in steps:
        value = value[0 if isinstance(step, int) else step] if isinstance(value, (list, dict)) else value
    text = masked(repr(value))  # before the cut, which may remove the marks of a password
    return text if len(text) <= 80 else text[:77] + "…"
