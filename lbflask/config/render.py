"""The effective configuration: as values, as TOML that can be loaded again (except masked secrets), as a version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import tomli_w

from lbflask.config.schema import Config


def effective(config: Config) -> dict[str, Any]:
    """All settings without their secrets: with defaults, except in routes; without those that are unset."""
    values: dict[str, Any] = config.model_dump(mode="json", exclude_none=True)
    values["routes"] = [
        route.model_dump(mode="json", exclude_defaults=True, exclude_none=True) for route in config.routes
    ]
    return values


def toml_of(settings: Mapping[str, Any]) -> str:
    """The result of `effective` as TOML."""
    return tomli_w.dumps(settings)


def version(config: Config) -> str:
    """Twelve hexadecimal digits, equal for equal effective settings.

    Listen addresses are left out, since instances on one machine must differ in them; so are secrets.
    """
    anywhere = config.model_copy(update={"bind": (), "admin_bind": ""})
    return hashlib.sha256(json.dumps(effective(anywhere)).encode()).hexdigest()[:12]
