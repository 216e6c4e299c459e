"""The names of all settings, as pages and messages write them: with the tables around them, or with some of these."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel

from lbflask.config.schema import Config

#: Tables within tables: those of a route, and of its match.
_DEEPEST = 5


@cache
def setting_names() -> frozenset[str]:
    """Each name with all tables around it, such as `routes.match.path`; names of pools and the like are left out."""
    return frozenset(_names(Config, "", 0))


def is_setting(name: str) -> bool:
    """Whether a setting is called so; outer tables may be missing, and `NAME` stands for the name of a pool."""
    plain = name.replace(".NAME", "").replace("NAME.", "")
    return any(known == plain or known.endswith(f".{plain}") for known in setting_names())


def _names(kind: type[BaseModel], prefix: str, depth: int) -> Iterator[str]:
    for name, field in kind.model_fields.items() if depth < _DEEPEST else ():
        key = f"{prefix}{field.alias or name}"
        yield key
        for inner in _models(field.annotation):
            yield from _names(inner, f"{key}.", depth + 1)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
