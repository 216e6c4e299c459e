"""The configuration in effect, as TOML that could be loaded again (but for masked passwords)."""

from __future__ import annotations

import json
import re
from typing import Any

from lbflask.config.schema import Config

_PASSWORD = re.compile(r"(://[^/@:]*):[^/@]*@")


def as_toml(config: Config) -> str:
    """Every setting, defaults too. What is unset and has no default is left out."""
    values = config.model_dump(mode="json", exclude_none=True)
    if config.redis_url is not None:
        values["redis_url"] = _PASSWORD.sub(r"\1:***@", config.redis_url)
    lines = [f"{key} = {_value(value)}" for key, value in values.items() if not isinstance(value, dict)]
    for section, inner in values.items():
        if isinstance(inner, dict):
            lines += ["", f"[{section}]", *(f"{key} = {_value(value)}" for key, value in inner.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    """JSON's scalars and strings are TOML's too; lists and tables differ in one sign."""
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
