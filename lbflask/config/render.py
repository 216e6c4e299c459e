"""The configuration in effect, as TOML that could be loaded again (but for masked passwords and secrets)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lbflask.config.backends import BackendConfig
from lbflask.config.pools import PoolConfig
from lbflask.config.rate_limits import RateLimitConfig
from lbflask.config.routes import (
    HeaderEditsConfig,
    MatchConfig,
    MirrorConfig,
    RedirectConfig,
    RespondConfig,
    RouteConfig,
)
from lbflask.config.schema import Config, tables_by_name, tables_of


def effective(config: Config) -> dict[str, Any]:
    """Every setting, defaults too but in routes, without its secrets. What is unset and has no default is left out."""
    values: dict[str, Any] = config.model_dump(mode="json", exclude_none=True)
    values["routes"] = [
        route.model_dump(mode="json", exclude_defaults=True, exclude_none=True) for route in config.routes
    ]
    return values


def as_toml(config: Config) -> str:
    """The same as TOML."""
    return toml_of(effective(config))


def toml_of(settings: Mapping[str, Any]) -> str:
    """Settings in the form of `effective`, as TOML."""
    values = {key: value for key, value in settings.items() if key != "routes"}
    lines = [line for route in settings["routes"] for line in ("", "[[routes]]", *_pairs(route))]
    return "\n".join([*_table(values, ""), *lines]).lstrip("\n") + "\n"


def version(config: Config) -> str:
    """Twelve digits that are the same wherever the same settings are in effect.

    Addresses to listen at don't count, since instances on one machine must have different ones; passwords neither.
    """
    anywhere = config.model_copy(update={"bind": (), "admin_bind": ""})
    return hashlib.sha256(as_toml(anywhere).encode()).hexdigest()[:12]


def _table(values: dict[str, Any], name: str) -> list[str]:
    """The lines of a table: its own keys, and then the tables within."""
    inner = {key: value for key, value in values.items() if isinstance(value, dict)}
    scalars = _pairs({key: value for key, value in values.items() if key not in inner})
    head = ["", f"[{name}]"] if name and scalars else []
    prefix = f"{name}." if name else ""
    return [*head, *scalars, *(line for key, value in inner.items() for line in _table(value, prefix + key))]


def _pairs(values: dict[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in values.items()]


def _key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: Any) -> str:
    """JSON's scalars and strings are TOML's too; lists and tables differ in one sign."""
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(_pairs(value)) + " }" if value else "{}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # the one sign that TOML alone escapes


def as_markdown() -> str:
    """`docs/configuration.md`: every setting with its variable, default and meaning, from its one declaration."""
    lines = [
        "# Configuration",
        "",
        "Written by `make docs` from `lbflask/config/`; a test compares the two.",
        "",
        "Settings come from `lbflask.toml` in the working directory (or the file that `LBFLASK_CONFIG` names), and",
        "from the environment, which wins. Times are in seconds. An unknown key is an error, and so is a bad value:",
        "one line says where it stands. `lbflask config check FILE` says so without starting anything.",
        "",
        "`lbflask config show` prints every setting as a process that is started here would have it, `lbflask config",
        "show --running` as an instance has it that runs. The number of workers is gunicorn's: `WEB_CONCURRENCY` or",
        "`--workers`.",
        "",
        "A relative path in the file starts from the directory of that file; in the environment, from the working",
        "directory. The fleet knows a backend at `unix:path` by its absolute path: instances whose files are in",
        "different directories and that mean one socket need the absolute path.",
        "",
    ]
    tables: dict[str, type[BaseModel]] = {"": Config, **tables_of(Config)}
    for section, kind in tables.items():
        lines += [f"## `[{section}]`" if section else "## Top level", ""]
        if section:
            lines += [(kind.__doc__ or "").strip(), ""]
        lines += ["| key | environment | default | |", "| --- | --- | --- | --- |"]
        for name, field in kind.model_fields.items():
            if name in tables_of(kind) or name in tables_by_name(kind) or name == "routes":
                continue
            variable = "LBFLASK_" + (f"{section}__{name}" if section else name).upper()
            lines.append(f"| `{name}` | `{variable}` | {_default(field)} | {field.description} |")
        lines.append("")
    lines += _pools()
    lines += _rate_limits()
    lines += ["## A backend", "", "A URL, or a table:", "", *_keys(BackendConfig)]
    return "\n".join([*lines, *_routes()]) + "\n"


def _keys(kind: type[BaseModel]) -> list[str]:
    """The rows of a table that the environment does not reach."""
    rows = [f"| `{name}` | {_default(field)} | {field.description} |" for name, field in kind.model_fields.items()]
    return ["| key | default | |", "| --- | --- | --- |", *rows]


def _routes() -> list[str]:
    where = "They stand in the file only. How one is chosen: [routing.md](routing.md)."
    lines = ["", "## `[[routes]]`", "", (RouteConfig.__doc__ or "").strip(), where, "", *_keys(RouteConfig)]
    inner: dict[str, type[BaseModel]] = {
        "match": MatchConfig,
        "respond": RespondConfig,
        "redirect": RedirectConfig,
        "request_headers": HeaderEditsConfig,
        "mirror": MirrorConfig,
    }
    for name, kind in inner.items():
        both = (
            "`request_headers` and `response_headers` of a route"
            if kind is HeaderEditsConfig
            else f"`{name}` of a route"
        )
        lines += ["", f"### {both}", "", (kind.__doc__ or "").strip(), "", *_keys(kind)]
    return lines


def _pools() -> list[str]:
    scalars = ", ".join(f"`{name}`" for name in PoolConfig.model_fields if name not in tables_of(PoolConfig))
    tables = ", ".join(f"`[pools.NAME.{name}]`" for name in tables_of(PoolConfig))
    return [
        "## `[pools.NAME]`",
        "",
        (PoolConfig.__doc__ or "").strip(),
        f"Its keys mean what they mean at the top level, which is the pool `default`: {scalars}, "
        f"and the tables {tables}.",
        "In the environment they are `LBFLASK_POOLS__NAME__KEY`. A top level without backends is no pool, when there",
        "are others.",
        "",
    ]


def _rate_limits() -> list[str]:
    rows = [
        f"| `{name}` | `LBFLASK_RATE_LIMITS__NAME__{name.upper()}` | {_default(field)} | {field.description} |"
        for name, field in RateLimitConfig.model_fields.items()
    ]
    about = (RateLimitConfig.__doc__ or "").strip()
    head = ["| key | environment | default | |", "| --- | --- | --- | --- |"]
    return ["## `[rate_limits.NAME]`", "", about, "", *head, *rows, ""]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel) or default is None:
        return "unset"
    return f"`{_value(list(default) if isinstance(default, tuple) else default)}`"
