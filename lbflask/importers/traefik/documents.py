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


class TraefikDocuments:
    """The settings of all files, as one table, and the lines where keys are."""

    def __init__(self, files: Sequence[str]) -> None:
        self.settings: dict[str, Any] = {}
        self._lines: dict[str, Place] = {}
        self._first = Place(Path(files[0]).name, 0)
        for file in files:
            text = _text(file)
            values = _values(file, text)
            self._remember(file, text)
            if "services" in values and isinstance(values["services"], Mapping):
                _merge(self.settings, _of_labels(values["services"]))
            else:
                _merge(self.settings, _lowered(values, 0))

    def place(self, *keys: str) -> Place:
        """The line of the last key that is found."""
        for key in reversed(keys):
            if found := self._lines.get(key.lower()):
                return found
        return self._first

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
        raise UnreadableConfiguration(f"{file}: {reason}") from None
    if len(text) > MOST_BYTES:
        raise UnreadableConfiguration(f"{file}: is larger than {MOST_BYTES} bytes")
    return text


def _values(file: str, text: str) -> dict[str, Any]:
    try:
        values = tomllib.loads(text) if file.endswith(".toml") else _yaml(text)
    except tomllib.TOMLDecodeError as error:
        raise UnreadableConfiguration(f"{file}: {error}") from None
    except RecursionError:
        raise UnreadableConfiguration(f"{file}: has too many tables within tables") from None
    if not isinstance(values, dict):
        raise UnreadableConfiguration(f"{file}: is no table of settings")
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
                _put(given, keys[1:], value)
        if "tcp" in given:
            _complete_tcp(given["tcp"], str(name))
        if "tcp" not in given or "http" in given:
            _complete(given.setdefault("http", {}), str(name))
        _merge(found, given)
    return found


def _complete_tcp(tcp: Any, name: str) -> None:
    """The same for routers of TCP, whose services have an address."""
    services = tcp.setdefault("services", {}) if isinstance(tcp, dict) else {}
    for of, service in services.items():
        balancer = service.setdefault("loadbalancer", {}) if isinstance(service, dict) else {}
        port = str(table_of(balancer.pop("server", {})).get("port", "0")) if isinstance(balancer, dict) else "0"
        if isinstance(balancer, dict):
            balancer.setdefault("servers", [{"address": f"{name}:{port}"}])
        for router in table_of(tcp, "routers").values():
            if len(services) == 1 and isinstance(router, dict):
                router.setdefault("service", of)


def _complete(http: dict[str, Any], name: str) -> None:
    """A router without a service has the only one of its container, which Traefik makes where there is none."""
    services = http.setdefault("services", {})
    if not services:
        services[name] = {}
    for of, service in services.items():
        balancer = service.setdefault("loadbalancer", {})
        server = balancer.pop("server", {})
        port, scheme = str(server.get("port", "80")), str(server.get("scheme", "http"))
        balancer.setdefault("servers", [{"url": f"{scheme}://{name}:{port}"}])
        for router in http.get("routers", {}).values():
            if len(services) == 1:
                router.setdefault("service", of)


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


def _put(target: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        inner = target.setdefault(key, {})
        if not isinstance(inner, dict):
            return
        target = inner
    target[keys[-1]] = value
