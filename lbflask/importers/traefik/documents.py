"""Traefik's documents: YAML and TOML with keys in small letters, and labels of containers as dynamic configuration."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lbflask.importers.site import Place, UnreadableConfiguration

#: Bytes of a file, and tables within tables.
MOST_BYTES = 4 << 20
_DEEPEST = 30
#: Tables in a section of the dynamic configuration whose keys are names of tables.
_NAMED = ("routers", "services", "middlewares", "serverstransports")
#: The sections: how a server of each is written, and the port that it has without a label.
_SERVERS = {"http": ("url", "{scheme}://{host}:{port}", 80), "tcp": ("address", "{host}:{port}", 0)}


class TraefikDocuments:
    """The settings of all files, as one table, and the lines where keys are."""

    def __init__(self, files: Sequence[str]) -> None:
        self.settings: dict[str, Any] = {}
        self._lines: dict[str, Place] = {}
        self._first = Place(Path(files[0]).name, 0)
        for file in files:
            try:
                self._add(file)
            except UnreadableConfiguration as error:
                raise UnreadableConfiguration(f"{file}: {error}") from None

    def place(self, *keys: str) -> Place:
        """The line of the last key that is found."""
        for key in reversed(keys):
            if found := self._lines.get(key.lower()):
                return found
        return self._first

    def _add(self, file: str) -> None:
        text = _text(file)
        values = _values(file, text)
        self._remember(file, text)
        if "services" in values and isinstance(values["services"], Mapping):
            _merge(self.settings, _of_labels(values["services"]))
        else:
            _merge(self.settings, _checked(_lowered(values, 0)))

    def _remember(self, file: str, text: str) -> None:
        for number, line in enumerate(text.split("\n"), 1):
            for found in re.findall(r"(?<![A-Za-z0-9_.@-])[A-Za-z0-9_.@-]++(?=[\"'\]]*+\s*+[:=\]])", line):
                for key in (found, *found.split(".")):
                    self._lines.setdefault(key.lower(), Place(Path(file).name, number))


def table_of(values: Any, *keys: str) -> dict[str, Any]:
    """A table in tables; empty without one."""
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values if isinstance(values, dict) else {}


def tables_of(values: Any) -> list[dict[str, Any]]:
    """The tables of a list; an empty one for each item of another kind."""
    return [table_of(value) for value in values] if isinstance(values, list) else []


def texts_of(value: Any) -> list[str]:
    """A list of texts, which labels write as one with commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else []


def is_true(value: Any) -> bool:
    """Whether a switch is on."""
    return value is True or str(value).lower() == "true"


def _text(file: str) -> str:
    try:
        text = Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no UTF-8 text"
        raise UnreadableConfiguration(reason) from None
    if len(text) > MOST_BYTES:
        raise UnreadableConfiguration(f"is larger than {MOST_BYTES} bytes")
    return text


def _values(file: str, text: str) -> dict[str, Any]:
    try:
        values = tomllib.loads(text) if file.endswith(".toml") else _yaml(text)
    except tomllib.TOMLDecodeError as error:
        raise UnreadableConfiguration(str(error)) from None
    except RecursionError:
        raise UnreadableConfiguration("has too many tables within tables") from None
    if not isinstance(values, dict):
        raise UnreadableConfiguration("is no table of settings")
    return values


def _yaml(text: str) -> Any:
    try:
        import yaml  # noqa: PLC0415 - an optional library
    except ImportError:
        raise UnreadableConfiguration("YAML files need the package PyYAML: pip install 'lbflask[import]'") from None
    if re.search(r"^[^#\n]*[:\-]\s*[&*]\w", text, re.MULTILINE) and text.count("*") > 200:
        raise UnreadableConfiguration("has too many references")  # which could grow without bound
    try:
        return yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = " ".join(str(getattr(error, "problem", "") or error).split())
        raise UnreadableConfiguration(f"{where}{problem}") from None


def _lowered(values: Any, depth: int) -> Any:
    """Tables with keys in small letters: Traefik takes any case. Names keep theirs, which are compared so too."""
    if depth > _DEEPEST:
        raise UnreadableConfiguration("has too many tables within tables")
    if isinstance(values, Mapping):
        keeps = depth and any(str(key).lower().startswith(("x-", "access-")) for key in values)
        return {str(key) if keeps else str(key).lower(): _lowered(value, depth + 1) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_lowered(value, depth + 1) for value in values]
    return values


def _merge(target: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        inner = target.get(key)
        if isinstance(inner, dict) and isinstance(value, Mapping):
            _merge(inner, value)
        else:
            target[key] = dict(value) if isinstance(value, Mapping) else value


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, whose sections are tables of tables; a section without a value is an empty one.

    Raises UnreadableConfiguration with the key of another value.
    """
    for section in _SERVERS:
        for kind in _table_in(settings, section):
            if kind in _NAMED:
                for name in _table_in(settings, section, kind):
                    _table_in(settings, section, kind, name)
    return settings


def _table_in(settings: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The table at these keys, which is created in the one above; that exists."""
    above = table_of(settings, *keys[:-1])
    values = above.get(keys[-1])
    if values is None:
        above[keys[-1]] = values = {}
    if not isinstance(values, dict):
        raise UnreadableConfiguration(f"{'.'.join(keys)} is no table of settings")
    return values


def _of_labels(services: Mapping[str, Any]) -> dict[str, Any]:
    """The dynamic configuration that the labels of a Compose file make; a service of Compose is a host of its name."""
    found: dict[str, Any] = {}
    for name, service in services.items():
        labels = dict(_labels(service))
        if not labels or str(labels.get("traefik.enable", "true")).lower() == "false":
            continue
        given: dict[str, Any] = {}
        for label, value in labels.items():
            keys = label.lower().split(".")
            if keys[0] == "traefik" and len(keys) > 2:
                _put(given, keys[1:], value, label)
        is_http = "http" in given or "tcp" not in given
        _checked(given)
        if is_http and not given["http"].get("services"):
            given["http"]["services"] = {str(name): {}}  # which Traefik makes where there is none
        for section in _SERVERS:
            _complete(given, section, str(name))
        _merge(found, given)
    return found


def _complete(settings: dict[str, Any], section: str, host: str) -> None:
    """Adds the servers of services, and the only service of a container to its routers."""
    key, form, port = _SERVERS[section]
    services = _table_in(settings, section, "services")
    for name in services:
        of = (section, "services", name, "loadbalancer")
        balancer = _table_in(settings, *of)
        server = {"scheme": "http", "port": port, **_table_in(settings, *of, "server"), "host": host}
        del balancer["server"]
        balancer.setdefault("servers", [{key: form.format_map(server)}])
        for router in _table_in(settings, section, "routers").values() if len(services) == 1 else ():
            router.setdefault("service", name)


def _labels(service: Any) -> Iterator[tuple[str, Any]]:
    labels = service.get("labels") if isinstance(service, Mapping) else None
    deploy = service.get("deploy") if isinstance(service, Mapping) else None
    if labels is None and isinstance(deploy, Mapping):
        labels = deploy.get("labels")
    if isinstance(labels, Mapping):
        yield from (
            (str(key), value.replace("$$", "$") if isinstance(value, str) else value) for key, value in labels.items()
        )
    elif isinstance(labels, list):
        yield from ((str(one).partition("=")[0], str(one).partition("=")[2].replace("$$", "$")) for one in labels)


def _put(target: dict[str, Any], keys: Sequence[str], value: Any, label: str) -> None:
    if len(keys) > _DEEPEST:
        raise UnreadableConfiguration("has too many tables within tables")
    table: Any = target
    for key in keys[:-1]:
        table = table.setdefault(key, {}) if isinstance(table, dict) else None
    if not isinstance(table, dict) or isinstance(table.get(keys[-1]), dict):
        raise UnreadableConfiguration(f"label {label}: one of its names has a value of its own and labels below it")
    table[keys[-1]] = value
