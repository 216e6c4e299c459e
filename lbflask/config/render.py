"""The effective configuration: as values, as TOML that can be loaded again (except masked secrets), as a version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tomli_w

from lbflask.config.field_types import Section
from lbflask.config.routes import RouteConfig
from lbflask.config.schema import Config
from lbflask.config.secrets_digest import secrets_digest
from lbflask.config.traffic import EffectiveSetting, PoolTrafficConfig, effective_settings, settings_of


def effective(config: Config) -> dict[str, Any]:
    """All settings without their secrets: with defaults, except in routes; without unset and inherited ones."""
    values: dict[str, Any] = config.model_dump(mode="json", exclude_none=True, by_alias=True)
    if config.listeners:
        del values["bind"]  # only one of the two may be set
    for pool in values["pools"].values():
        inherited = [key for key in PoolTrafficConfig.model_fields if pool.get(key) == {}]
        for key in inherited:
            del pool[key]
    values["routes"] = [
        route.model_dump(mode="json", exclude_defaults=True, exclude_none=True, by_alias=True)
        for route in config.routes
    ]
    return values


def explained(config: Config) -> list[dict[str, Any]]:
    """The effective settings of each pool, of each route with each of its pools, and of each listener: a document of
    `pool`, `route`, `listener` and `settings`, each with `key`, `value` and `origin`. What it is not about is empty;
    for a direct response so is the pool.
    """
    found = [_explanation(config, name) for name in config.every_pool()]
    for route in config.routes:
        found += [_explanation(config, name, route) for name in route.served_by() or ("",)]
    for number, listener in enumerate(config.every_listener()):
        usual = "top level" if "bind" in config.model_fields_set else "default"
        settings = settings_of(listener, f"listeners[{number}]" if config.listeners else usual)
        found.append({"route": "", "pool": "", "listener": listener.label, "settings": _documents(settings)})
    return found


def _explanation(config: Config, pool: str, route: RouteConfig | None = None) -> dict[str, Any]:
    levels = config.traffic_levels(pool, route)
    settings = [*effective_settings(levels, of_pool=bool(pool)), _auth(config, route)]
    label = "" if route is None else route.label
    return {"route": label, "pool": pool, "listener": "", "settings": _documents(settings)}


def _auth(config: Config, route: RouteConfig | None) -> EffectiveSetting:
    """Who may make the requests: one table, which is not merged with that of another level."""
    if route is not None and route.auth is not None:
        origin = f"routes.{route.label}"
    else:
        origin = "default" if config.auth is None else "top level"
    return EffectiveSetting("auth", config.auth_of(route), origin)


def _documents(settings: Iterable[EffectiveSetting]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _shown(value), "origin": origin} for key, value, origin in settings]


def _shown(value: Any) -> Any:
    """The value as JSON has it, with its secrets masked."""
    if isinstance(value, Mapping):
        return {str(key): _shown(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shown(item) for item in value]
    if isinstance(value, Section):
        return value.model_dump(mode="json", exclude_defaults=True, exclude_none=True, by_alias=True)
    return value if value is None or type(value) in (bool, int, float, str) else str(value)


def explained_text(explanations: Sequence[Mapping[str, Any]]) -> str:
    """The result of `explained` for people: a line of TOML for each setting, its origin as a comment."""
    lines = []
    for one in explanations:
        names = [f"{kind} {one[kind]}" for kind in ("route", "pool", "listener") if one.get(kind)]
        lines += ["", f"# {', '.join(names)}"]
        for setting in one["settings"]:
            value = json.dumps(setting["value"], ensure_ascii=False)
            shown = f"# {setting['key']} is unset" if setting["value"] is None else f"{setting['key']} = {value}"
            lines.append(f"{shown}  # {setting['origin']}")
    return "\n".join(lines).lstrip("\n") + "\n"


def toml_of(settings: Mapping[str, Any]) -> str:
    """The result of `effective` as TOML."""
    return tomli_w.dumps(settings)


def published(config: Config) -> str:
    """All settings as JSON without their secrets, as instances publish them to each other."""
    return json.dumps(effective(config), separators=(",", ":"))


def version(config: Config) -> str:
    """Twelve hexadecimal digits, equal for equal effective settings.

    Listen addresses and the name of the instance are left out, since instances on one machine must differ in them.
    Secrets are part of it by a slow digest.
    """
    listeners = tuple(one.model_copy(update={"bind": ""}) for one in config.listeners)
    anywhere = config.model_copy(update={"bind": (), "listeners": listeners, "admin_bind": "", "instance": None})
    text = json.dumps(effective(anywhere)) + secrets_digest(config, config.namespace)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
