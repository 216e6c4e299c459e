"""A site as all proxies describe it: listeners, certificates, pools, routes, and findings about what is not translated.

Settings are nested tables with the names of lbflask.toml. A reader adds to one `Site`; `document.py` writes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: Characters of a name of a route, a pool or a rate limit.
_LONGEST_NAME = 60
#: Routes that a site may have; an import with more is refused.
MOST_ROUTES = 5000


class UnreadableConfiguration(ValueError):
    """A file that cannot be read as the configuration of its proxy; the message is the line to show."""


class FindingKind(StrEnum):
    """What became of a directive that has no equal."""

    NOT_TRANSLATED = "not translated"
    DIFFERENT = "different"
    NOT_NEEDED = "not needed"


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class ImportFinding:
    """A directive that is not, or not alike, in the result; `reason` states why, and what to do instead."""

    place: Place
    directive: str
    kind: FindingKind
    reason: str


@dataclass(frozen=True, slots=True)
class ImportedPool:
    """A pool: its settings are those of `[pools.NAME]`."""

    name: str
    place: Place
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ImportedRoute:
    """A route: `action` has one of the keys pool, split, respond, redirect, files, and what belongs to it."""

    place: Place
    title: str
    match: Mapping[str, Any]
    action: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def forwards(self) -> bool:
        """Whether a pool serves it."""
        return "pool" in self.action or "split" in self.action


class Site:
    """What a reader has found. Names of pools and rate limits are unique; a repeated finding counts once."""

    def __init__(self) -> None:
        self.listeners: list[dict[str, Any]] = []
        self.settings: dict[str, Any] = {}
        self.rate_limits: dict[str, dict[str, Any]] = {}
        self.pools: dict[str, ImportedPool] = {}
        self.files: dict[str, str] = {}  #: texts of files that the result names, by name
        self.routes: list[ImportedRoute] = []
        self.findings: dict[ImportFinding, None] = {}

    def lose(self, place: Place, directive: str, reason: str) -> None:
        """Add a directive that is not translated."""
        self.findings[ImportFinding(place, directive, FindingKind.NOT_TRANSLATED, reason)] = None

    def differ(self, place: Place, directive: str, reason: str) -> None:
        """Add a directive whose translation does something else in some case."""
        self.findings[ImportFinding(place, directive, FindingKind.DIFFERENT, reason)] = None

    def skip(self, place: Place, directive: str, reason: str) -> None:
        """Add a directive that needs no translation."""
        self.findings[ImportFinding(place, directive, FindingKind.NOT_NEEDED, reason)] = None

    def add_listener(self, bind: str, *, tls: bool = False, **others: Any) -> str:
        """Add a listener unless it is here already. Returns its address."""
        if all(one["bind"] != bind for one in self.listeners):
            self.listeners.append({"bind": bind, **({"tls": True} if tls else {}), **others})
        return bind

    def set_listener(self, bind: str, settings: Mapping[str, Any]) -> None:
        """Set settings of a listener that has been added."""
        for one in self.listeners:
            if one["bind"] == bind:
                one.update(settings)

    def add_file(self, wanted: str, text: str) -> str:
        """Add a file beside the result, or find one with the same text. Returns its name."""
        stem, dot, end = wanted.rpartition(".")
        name, number = wanted, 1
        while name in self.files and self.files[name] != text:
            number += 1
            name = f"{stem}-{number}{dot}{end}"
        self.files.setdefault(name, text)
        return name

    def add_pool(self, wanted: str, place: Place, settings: Mapping[str, Any]) -> str:
        """Add a pool, or find one with the same settings. Returns its name."""
        base = name = name_of(wanted, "pool")
        number = 1
        while name in self.pools and self.pools[name].settings != settings:
            number += 1
            name = f"{base}-{number}"
        self.pools.setdefault(name, ImportedPool(name, place, settings))
        return name

    def add_rate_limit(self, wanted: str, settings: Mapping[str, Any]) -> str:
        """Add a rate limit, or find one with the same settings. Returns its name."""
        base = name = name_of(wanted, "limit")
        number = 1
        while name in self.rate_limits and self.rate_limits[name] != settings:
            number += 1
            name = f"{base}-{number}"
        self.rate_limits.setdefault(name, dict(settings))
        return name

    def add_routes(self, routes: Iterable[ImportedRoute]) -> None:
        """Add routes. Raises UnreadableConfiguration when they are too many."""
        self.routes += routes
        if len(self.routes) > MOST_ROUTES:
            raise UnreadableConfiguration(f"the result has more than {MOST_ROUTES} routes; import its parts")

    def set_default(self, path: str, value: Any) -> None:
        """Set a setting of the top level, such as `timeouts.connect`, unless it is set already."""
        table, _, key = path.rpartition(".")
        target = self.settings.setdefault(table, {}) if table else self.settings
        target.setdefault(key, value)


def name_of(text: str, otherwise: str) -> str:
    """A name in small letters, digits, dashes and underscores."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:_LONGEST_NAME] or otherwise


def merged(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables as one; a later value replaces an earlier one."""
    found: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            inner = found.get(key)
            both = isinstance(inner, dict) and isinstance(value, Mapping)
            found[key] = merged(inner, value) if both and inner is not None else value
    return found
