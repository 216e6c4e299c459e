"""The reference page of all settings, docs/configuration.md, generated from their declarations."""

from __future__ import annotations

import json

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
    return f"`{json.dumps(default)}`"  # for these values TOML is written as JSON is
