"""Lines of haproxy.cfg: sections, arguments, quotes (HAProxy Configuration Manual, section 2.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from lbflask.importers.directives import Directive
from lbflask.importers.site import Place, UnreadableConfiguration

SECTIONS = frozenset(
    {"global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "userlist", "mailers", "cache"}
    | {"program", "http-errors", "ring", "log-forward", "fcgi-app", "crt-store", "traces", "acme"}
)
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)(?:-([^}]*))?\}|([A-Za-z_][A-Za-z0-9_]*))")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
MOST_LINES = 100_000


def sections_of(files: Sequence[str]) -> list[Directive]:
    """The sections with their lines. Raises UnreadableConfiguration."""
    found: list[tuple[Directive, list[Directive]]] = []
    for file in files:
        for line in _lines(file):
            if line.name in SECTIONS:
                found.append((line, []))
            elif not found:
                raise UnreadableConfiguration(f"{line.place}: {line.name!r} is in no section, such as frontend")
            else:
                found[-1][1].append(line)
    return [Directive(head.place, head.name, head.args, tuple(lines)) for head, lines in found]


def _lines(file: str) -> Iterator[Directive]:
    try:
        text = Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no UTF-8 text"
        raise UnreadableConfiguration(f"{file}: {reason}") from None
    lines = text.split("\n")
    if len(lines) > MOST_LINES:
        raise UnreadableConfiguration(f"{file}: more than {MOST_LINES} lines")
    for number, line in enumerate(lines, 1):
        place = Place(Path(file).name, number)
        words = arguments_of(line, place)
        if words:
            yield Directive(place, words[0], tuple(words[1:]))


def arguments_of(line: str, place: Place) -> list[str]:
    """The arguments of a line, without quotes and escapes. A variable of the environment, which double quotes expand,
    is one of lbflask.toml. Raises UnreadableConfiguration for a quote without an end.
    """
    found: list[str] = []
    current: list[str] | None = None
    end = len(line.rstrip("\r"))
    at, quote = 0, ""
    while at < end:
        char = line[at]
        at += 1
        if quote == "" and char == "#":
            break
        if quote == "" and char in " \t":
            if current is not None:
                found.append("".join(current))
            current = None
            continue
        current = [] if current is None else current
        if char == "\\" and quote != "'" and at < end:
            current.append(_ESCAPES.get(line[at], line[at] if line[at] in " \\#'\"$" else f"\\{line[at]}"))
            at += 1
        elif char in "\"'" and quote in ("", char):
            quote = "" if quote else char
        elif char == "$" and quote == '"' and (variable := _VARIABLE.match(line, at - 1)):
            current.append(_variable(variable))
            at = variable.end()
        else:
            current.append("$$" if line.startswith("${", at - 1) else char)
    if quote:
        raise UnreadableConfiguration(f"{place}: a quote has no end")
    return found if current is None else [*found, "".join(current)]


def _variable(found: re.Match[str]) -> str:
    name, default = found[1] or found[3], found[2]
    return f"${{{name}}}" if default is None else f"${{{name}:-{default}}}"
