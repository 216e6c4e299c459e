"""Writes a site as lbflask.toml: a comment with the source at each block, and all findings at the top."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lbflask.importers.site import FindingKind, ImportedPool, ImportedRoute, ImportFinding, Site, merged, name_of

#: Settings of routes that the top level can have for all of them; only forwarding uses those of the second group.
_COMMON = ("response_headers", "error_pages", "error_pages_for", "auth", "access")
_FORWARDING = ("request_headers", "preserve_host", "host", "timeouts", "limits", "buffering", "retries", "cors")
#: Tables of which the top level can have some of the keys.
_BY_KEY = frozenset({"timeouts", "limits", "buffering", "retries"})
#: A configuration needs a backend, also where no route goes to one.
_NO_BACKEND = "http://127.0.0.1:9"
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_WIDEST = 110
#: Lines that a finding lists.
_MOST_PLACES = 12


def text_of(site: Site, command: str) -> str:
    """The site as TOML. `command` is what has made it, for the first line."""
    common, routes = _hoisted(site.routes)
    settings = merged({"health_path": "", "live_path": ""}, site.settings, common)
    pools, limits = _used_pools(site), {route.settings.get("rate_limit") for route in routes}
    if not pools:
        settings["backends"] = [_NO_BACKEND]
    lines = [
        f"# Written by `{_one_line(command)}`. Check it with `lbflask config check`.",
        *_finding_comments(site),
        "",
    ]
    lines += [f"{key} = {value_of(value)}" for key, value in settings.items() if not isinstance(value, Mapping)]
    for key, value in settings.items():
        if isinstance(value, Mapping):
            lines += _table(key, value)
    for listener in site.listeners:
        lines += ["", "[[listeners]]", *(f"{key} = {value_of(value)}" for key, value in listener.items())]
    for name, limit in site.rate_limits.items():
        if name in limits or limit.get("everywhere"):
            lines += _table(f"rate_limits.{name}", limit)
    for pool in pools:
        lines += ["", f"# {_one_line(str(pool.place))}", *_table(f"pools.{pool.name}", pool.settings)[1:]]
    names: set[str] = set()
    for route in routes:
        lines += _route(route, names)
    return "\n".join(lines) + "\n"


def _used_pools(site: Site) -> list[ImportedPool]:
    """The pools that a route or a listener names: one that none names is an error."""
    used: set[str] = set()
    for listener in site.listeners:
        used |= {str(listener.get("tcp")), *listener.get("sni", {}).values()}
    for route in site.routes:
        used |= {str(route.action.get("pool")), *route.action.get("split", ())}
        used.add(str(route.action.get("mirror", {}).get("pool")))
    return [pool for name, pool in site.pools.items() if name in used]


def finding_lines(findings: Iterable[ImportFinding]) -> Iterator[str]:
    """The findings, those that are not translated first; equal ones in one line with all of their places."""
    groups: dict[tuple[FindingKind, str, str], list[str]] = {}
    for one in findings:
        groups.setdefault((one.kind, one.directive, one.reason), []).append(str(one.place))
    for kind in FindingKind:
        for (of, directive, reason), places in groups.items():
            if of is kind:
                shown = list(dict.fromkeys(places))
                more = f" and {len(shown) - _MOST_PLACES} more" if len(shown) > _MOST_PLACES else ""
                where = ", ".join(shown[:_MOST_PLACES]) + more
                yield _one_line(f"{where}: {kind}: {directive}: {reason}")


def value_of(value: Any) -> str:
    """A value in one line of TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(str(key))} = {value_of(item)}' for key, item in value.items())} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(value_of, value))}]"
    text = str(value)
    if "\\" in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    return _quoted(text)


def _quoted(text: str) -> str:
    """A text of JSON is one of TOML, but for a character that TOML does not have in texts."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _finding_comments(site: Site) -> list[str]:
    found = list(finding_lines(site.findings))
    return ["#", *(f"# {line}" for line in found)] if found else []


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)


def _table(name: str, values: Mapping[str, Any]) -> list[str]:
    """A table, with its inner tables after it where they are settings and no mapping of names."""
    inner = {key: value for key, value in values.items() if isinstance(value, Mapping) and _is_table(key)}
    lines = ["", f"[{name}]"] if len(inner) < len(values) or not values else [""]
    for key, value in values.items():
        if key not in inner:
            lines += _setting(key, value)
    for number, (key, value) in enumerate(inner.items()):
        lines += _table(f"{name}.{key}", value)[1 if lines == [""] and not number else 0 :]
    return lines


def _is_table(key: str) -> bool:
    return key in {"health", "discovery", "hash", "ejection", "sticky", "queue", "backend_tls", *_FORWARDING}


def _setting(key: str, value: Any) -> list[str]:
    line = f"{_key(key)} = {value_of(value)}"
    if isinstance(value, list) and (len(line) > _WIDEST or (len(value) > 1 and isinstance(value[0], Mapping))):
        return [f"{_key(key)} = [", *(f"  {value_of(item)}," for item in value), "]"]
    return [line]


def _route(route: ImportedRoute, names: set[str]) -> list[str]:
    lines = ["", f"# {_one_line(f'{route.place} {route.title}')}", "[[routes]]", f'name = "{_name(route, names)}"']
    if route.match:
        lines += _setting("match", route.match)
    for key, value in (*route.action.items(), *route.settings.items()):
        lines += _setting(key, value)
    return lines


def _name(route: ImportedRoute, names: set[str]) -> str:
    """A name by host and path that no other route has."""
    match = route.match
    parts = [_first(match.get("host")), _first(match.get("path")) or _first(match.get("exact"))]
    parts += [str(key) for key in ("regex", "suffix", "methods", "scheme") if key in match]
    base = name = name_of("-".join(filter(None, parts)).replace("*.", "any-"), "rest")[:56].strip("-_")
    number = 1
    while name in names:
        number += 1
        name = f"{base}-{number}"
    names.add(name)
    return name


def _first(value: Any) -> str:
    return str(value[0]) if isinstance(value, (list, tuple)) and value else str(value or "").strip("/")


def _hoisted(routes: list[ImportedRoute]) -> tuple[dict[str, Any], list[ImportedRoute]]:
    """The settings that all routes have alike, and the routes without them. Settings that only forwarding uses are
    those of the routes that forward; a route that does not forward has none of them.
    """
    used = [ImportedRoute(one.place, one.title, one.match, one.action, _used(one)) for one in routes]
    forwarding = [route for route in used if route.forwards]
    common: dict[str, Any] = {}
    bodies = [route for route in used if route.forwards or "files" in route.action]
    for keys, among in ((_COMMON, used), (("compression",), bodies), (_FORWARDING, forwarding)):
        for key in keys:
            tables = [route.settings.get(key) for route in among]
            if tables and tables[0] and all(table == tables[0] for table in tables):
                common[key] = tables[0]
            elif key in _BY_KEY and tables and all(tables):
                alike = {name: value for name, value in dict(tables[0] or ()).items() if _all_have(tables, name, value)}
                common |= {key: alike} if alike else {}
    return common, [
        ImportedRoute(one.place, one.title, one.match, one.action, _without(one.settings, common)) for one in used
    ]


def _all_have(tables: Iterable[Any], name: str, value: Any) -> bool:
    return all(table.get(name) == value for table in tables)


def _used(route: ImportedRoute) -> dict[str, Any]:
    """The settings that the route uses and that are no defaults."""
    unused: tuple[str, ...] = () if route.forwards else (*_FORWARDING, "rate_limit", "mirror", "error_pages_for")
    if not route.forwards and "files" not in route.action:
        unused = (*unused, "compression")
    return {
        key: value
        for key, value in route.settings.items()
        if key not in unused and not (key == "preserve_host" and value is True)
    }


def _without(settings: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if key in common and key in _BY_KEY:
            value = {name: item for name, item in value.items() if name not in common[key]}  # noqa: PLW2901
        if value and (key not in common or key in _BY_KEY):
            found[key] = value
    return found
