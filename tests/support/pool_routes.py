"""Configurations of tests with further pools: each is named by a route, as the loader requires."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any


def with_routes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with a route to each of their pools that no route and no listener names."""
    added = [{"name": f"to-{pool}", "match": {"host": f"{pool}.example"}, "pool": pool} for pool in unnamed(settings)]
    return {**settings, **({"routes": [*settings.get("routes", []), *added]} if added else {})}


def text_with_routes(text: str) -> str:
    """The same for the text of a file."""
    tables = (
        f'[[routes]]\nname = "to-{pool}"\nmatch = {{ host = "{pool}.example" }}\npool = "{pool}"\n'
        for pool in unnamed(tomllib.loads(text))
    )
    return "\n".join([text, *tables])


def unnamed(settings: Mapping[str, Any]) -> list[str]:
    """The pools that no route and no listener names."""
    named = set(_named(settings))
    return [pool for pool in settings.get("pools", {}) if pool not in named]


def _named(settings: Mapping[str, Any]) -> Iterator[str]:
    for route in settings.get("routes", []):
        yield from (route.get("pool"), route.get("mirror", {}).get("pool"), *route.get("split", {}))
    for listener in settings.get("listeners", []):
        yield from (listener.get("tcp", ""), *listener.get("sni", {}).values())
