"""The file that `lbflask init` writes: every setting with its meaning and its default, from its one declaration."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Collection, Iterable

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lbflask.config import routes
from lbflask.config.backends import BackendConfig
from lbflask.config.pools import PoolConfig
from lbflask.config.rate_limits import RateLimitConfig
from lbflask.config.schema import Config, tables_by_name, tables_of

_HEAD = """\
# lbflask's configuration. A setting without # is in effect; all others show their defaults.
# `lbflask config check` checks this file, `lbflask config show` prints what is in effect.
# Every setting may also be set in the environment, which has precedence: LBFLASK_BIND, LBFLASK_HEALTH__INTERVAL, …
# Times are in seconds. The number of workers is gunicorn's: `lbflask serve --workers 4`."""
#: Settings that are in effect in the file, because nearly all users change them.
_LIVE = {
    "backends": '["http://127.0.0.1:8081", "http://127.0.0.1:8082"]',
    "bind": '"0.0.0.0:8080"',
}
#: Values of settings that have no default, in place of "unset".
_EXAMPLES = {
    "redis_url": '"redis://10.0.0.5:6379/0"',
    "rate": '"100/min"',
    "name": '"api"',
    "url": '"http://127.0.0.1:8081"',
    "pool": '"api"',
    "to": '"https://{host}{path}{query}"',
}
_WIDTH = 118


def text() -> str:
    """The whole file."""
    lines = [_HEAD, *_settings(Config, {*tables_of(Config), *tables_by_name(Config), "routes"})]
    backend = (line.replace("# ", "#     ", 1) for line in _settings(BackendConfig))
    lines += _block("Each of `backends` is a URL or a table, { url = …, weight = 2 }, with these keys:", backend)
    for name, kind in tables_of(Config).items():
        lines += ["", *_comment(about(kind)), f"[{name}]", *_settings(kind)]
    lines += _block(_about_pools(), ["# [pools.api]", '# backends = ["http://127.0.0.1:8083"]'])
    lines += _block(about(RateLimitConfig), ["# [rate_limits.api]", *_settings(RateLimitConfig)])
    parts = tables_within(routes.RouteConfig)
    lines += _block(about(routes.RouteConfig), ["# [[routes]]", *_settings(routes.RouteConfig, parts)])
    for name, kind in parts.items():
        lines += ["", *_comment(about(kind)), f"# [routes.{name}]", *_settings(kind)]
    return "\n".join(lines) + "\n"


def tables_within(kind: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The tables within a table by key, also the optional ones."""
    found = {}
    for name, field in kind.model_fields.items():
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found[name] = part
    return found


def about(kind: type[BaseModel]) -> str:
    """The meaning of a table."""
    return (kind.__doc__ or "").strip()


def default_of(field: FieldInfo) -> str | None:
    """The default as TOML, which for these values is written as JSON is; None if there is none."""
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return None if default is None or isinstance(default, BaseModel) else json.dumps(default)


def _about_pools() -> str:
    tables = tables_of(PoolConfig)
    keys = ", ".join(f"`{name}`" for name in PoolConfig.model_fields if name not in tables)
    names = ", ".join(f"`[pools.NAME.{name}]`" for name in tables)
    return f"{about(PoolConfig)} Its keys have the meaning that they have above: {keys}, and the tables {names}."


def _block(title: str, lines: Iterable[str]) -> list[str]:
    return ["", *_comment(title), *lines]


def _settings(kind: type[BaseModel], hidden: Collection[str] = ()) -> list[str]:
    """The settings of a table, each below its meaning."""
    lines: list[str] = []
    for name, field in kind.model_fields.items():
        if name not in hidden:
            lines += ["", *_comment(field.description or ""), _setting(kind, name, field)]
    return lines


def _setting(kind: type[BaseModel], name: str, field: FieldInfo) -> str:
    if kind is Config and name in _LIVE:
        return f"{name} = {_LIVE[name]}"
    value = default_of(field)
    if value is None:
        return f"# {name} = {_EXAMPLES[name]}" if name in _EXAMPLES else f"# {name} =  (unset)"
    return f"# {name} = {value}"


def _comment(prose: str) -> list[str]:
    return textwrap.wrap(" ".join(prose.split()), _WIDTH, initial_indent="# ", subsequent_indent="# ")
