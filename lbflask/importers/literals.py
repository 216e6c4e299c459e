"""Times, sizes and texts of other proxies as those of lbflask.toml."""

from __future__ import annotations

import re
from collections.abc import Callable

from lbflask.core.http.value_templates import VARIABLES

_UNITS = {
    "us": 1e-6,
    "ms": 0.001,
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": 86_400,
    "w": 604_800,
    "M": 2_592_000,
    "y": 31_536_000,
}
#: Digits, and seconds: a longer time is none.
_LONGEST_NUMBER, _LONGEST_TIME = 16, 1e9
_TIME = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d|w|M|y)?")
_SIZE = re.compile(r"(\d{1,15})\s*([kmgKMG]?)(i?)([bB]?)")
#: What a value of lbflask.toml would take for a variable.
_BRACES = re.compile(r"\{(" + "|".join(map(re.escape, VARIABLES)) + r"|header\.[^{}]*|env\.[^{}]*)\}")
#: Variables of the environment, and where a redirection may lead (docs/routing.md).
_ENVIRONMENT = re.compile(r"\$\{[^{}]*\}")
_DESTINATION = re.compile(r"https?://[^/?#{}][!-~]*|https?://\{host\}[!-~]*|/[^/\\{}][!-~]*|/")


def seconds_of(text: str, unit: float = 1) -> float | int | None:
    """A time such as `1m30s` in seconds; a number alone counts in units of so many seconds. None for no time."""
    parts = _TIME.findall(text.replace(" ", ""))
    if not parts or "".join(number + of for number, of in parts) != text.replace(" ", ""):
        return None
    total = sum(float(number) * (_UNITS[of] if of else unit) for number, of in parts)
    if total > _LONGEST_TIME:
        return None
    rounded = round(total, 6)
    return int(rounded) if rounded == int(rounded) else rounded


def number_of(text: str) -> int:
    """A whole number; 0 for what is none."""
    return int(text) if text.isdecimal() and len(text) < _LONGEST_NUMBER else 0


def bytes_of(text: str, *, decimal: bool = False) -> int | None:
    """A size such as `10m` in bytes: powers of 1024, or with `decimal` of 1000 unless it says MiB. None for no size."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    base = 1000 if decimal and not found[3] else 1024
    return int(found[1]) * int(base ** ("kmg".index(found[2].lower()) + 1 if found[2] else 0))


def literal(text: str) -> str:
    """A text whose `${` is no variable of the environment for lbflask.toml."""
    return text.replace("${", "$${")


def template_of(text: str, expression: re.Pattern[str], variable: Callable[[re.Match[str]], str | None]) -> str | None:
    """A value of a header field: what `expression` finds is a variable, all else is text. `variable` gives what stands
    for it, None where nothing does; then the result is None.
    """
    parts, end = [], 0
    for found in expression.finditer(text):
        value = variable(found)
        if value is None:
            return None
        parts += [_escaped(text[end : found.start()]), value]
        end = found.end()
    return "".join([*parts, _escaped(text[end:])])


def destination(text: str | None) -> str | None:
    """The text if it can be `redirect.to`: a URL, or a path, whose host no request chooses. None if not."""
    if text is None:
        return None
    filled = _ENVIRONMENT.sub("x", text)
    return text if _DESTINATION.fullmatch(filled) and not re.search(r"[{}]", _BRACES.sub("", filled)) else None


def plain_text(text: str) -> str:
    """A text in which nothing is a variable, where lbflask.toml has variables."""
    return _escaped(text)


def _escaped(text: str) -> str:
    return _BRACES.sub(r"{{\1}}", literal(text)) if "{" in text else text
