"""What an operator can execute of an advice: the commands in backquotes that change something, and lines for the file
of the configuration. Commands that only show something, and those with a name to be filled in, are left out.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any

_QUOTED = re.compile(r"`([^`]+)`")
_CHANGES = re.compile(
    r"lbflask (?:off|drain|enable|uneject|weight|add|remove|reload|serve|instance (?:un)?drain)\b.*"
    r"|kill -[A-Z]+ \d+"
    r"|prlimit --pid \d+ .*"
    r"|redis-cli .*\b(?:config set|replicaof|script kill|bgsave)\b.*"
    r"|python -m lbflask\.healthcheck"
)
_UNKNOWN = re.compile(r"\b(?:URL|NAME|HOST|PORT|FILE|PID|N)\b|…|<")
#: Commands that spare clients while the cause remains, and those that undo them.
_RELIEVES = re.compile(r"lbflask (?:off|drain) ")
_RESTORES = re.compile(r"lbflask (?:enable|uneject) ")
#: Commands that start what goes on running.
_STARTS = re.compile(r"lbflask serve|python -m lbflask\.healthcheck")


def commands(advice: str) -> list[str]:
    """The commands that change something, as written."""
    return [text for text in _QUOTED.findall(advice) if _CHANGES.fullmatch(text) and not _UNKNOWN.search(text)]


def lines(advice: str) -> list[str]:
    """The lines for the file of the configuration, as written: `key = value`."""
    return [text for text in _QUOTED.findall(advice) if _parsed(text)]


def settings(lines: Sequence[str]) -> dict[str, Any]:
    """The settings in these lines."""
    found: dict[str, Any] = {}
    for line in lines:
        found = merged(found, _parsed(line))
    return found


def _parsed(text: str) -> dict[str, Any]:
    """Empty for a text that is no line of a configuration."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """The settings with others laid over them."""
    found = dict(base)
    for key, value in more.items():
        inner = found.get(key)
        found[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return found


def relieves(command: str) -> bool:
    """Whether it spares clients while the cause remains."""
    return _RELIEVES.match(command) is not None


def restores(command: str) -> bool:
    """Whether it puts back into service what was taken out."""
    return _RESTORES.match(command) is not None


def starts(command: str) -> bool:
    """Whether it starts what goes on running."""
    return _STARTS.fullmatch(command) is not None
