"""Variables of the environment in the values of a file: `"${APP_PORT:-8000}"`.

They are replaced in texts after the file is parsed, so that no value can change its structure. A text that is a number
or a list afterwards is read as one, as from a variable `LBFLASK_…`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lbflask.core.printable import printable

_REFERENCE = re.compile(r"\$(\$\{|\{([^{}]*)\})")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,255})(?::-(.*))?", re.DOTALL)


class UnusableVariable(ValueError):
    """A reference that cannot be replaced, at the steps that lead to its value."""

    def __init__(self, steps: tuple[str | int, ...], reason: str) -> None:
        super().__init__(reason)
        self.steps = steps
        self.reason = reason


def expanded(value: Any, environ: Mapping[str, str], steps: tuple[str | int, ...] = ()) -> Any:
    """The value with each `${NAME}` and `${NAME:-default}` replaced, at any depth; `$${` stands for `${`.

    A default stands for a variable that is not set or empty, as in the shell. Raises UnusableVariable.
    """
    if isinstance(value, str):
        return _expanded_text(value, environ, steps) if "${" in value else value
    if isinstance(value, dict):
        return {key: expanded(item, environ, (*steps, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [expanded(item, environ, (*steps, number)) for number, item in enumerate(value)]
    return value


def _expanded_text(text: str, environ: Mapping[str, str], steps: tuple[str | int, ...]) -> str:
    def replaced(found: re.Match[str]) -> str:
        if found[1] == "${":
            return "${"
        named = _NAME.fullmatch(found[2])
        if named is None:
            raise UnusableVariable(steps, f"${{{printable(found[2])}}}: write ${{NAME}} or ${{NAME:-default}}")
        name, default = named[1], named[2]
        value = environ.get(name, "")
        if not value and default is not None:
            return default
        if name not in environ:
            raise UnusableVariable(steps, f"the variable {name} is not set; ${{{name}:-…}} gives a default")
        return value

    return _REFERENCE.sub(replaced, text)
