"""Names in braces, such as `{client}`, in texts of the configuration: the parser that header values, redirections,
bodies and lines of the access log share, and the variables of other proxies, which are mistakes in all of them.

A text that may hold braces of its own, as JSON does, only has `{name}` and `{{name}}`, which stands for the text
`{name}`. In a text where `every_brace` counts, `{{` and `}}` stand for braces, and each other brace belongs to a name.
"""

from __future__ import annotations

import re
from typing import Final

_NAME = r"[A-Za-z][A-Za-z0-9_.-]{0,255}"
_SOME_BRACES: Final = re.compile(rf"\{{\{{{_NAME}\}}\}}|(?<!\$)\{{(?P<name>{_NAME})\}}")
_EVERY_BRACE: Final = re.compile(r"\{\{|\}\}|\{(?P<name>[^{}]*)\}|[{}]")
#: Variables of nginx, of Apache and of HAProxy.
_FOREIGN: Final = re.compile(
    r"\$\{?(?:host|hostname|remote_addr|remote_user|scheme|request_uri|request_id|request_method|uri|args|is_args|status"
    r"|server_name|server_port|proxy_\w+|upstream_\w+|http_\w+|sent_http_\w+|cookie_\w+|arg_\w+|ssl_\w+)\b"
    r"|%\{[A-Za-z][A-Za-z0-9_:-]{0,64}\}[A-Za-z]\b|%\[[a-z][^\]]{0,64}\]"
)
#: The same, where no such sign is expected to be text.
_FOREIGN_FORM: Final = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]{0,64}|%\{[^}]{0,64}\}|%\[[^\]]{0,64}\]")


def parts(text: str, *, every_brace: bool = False) -> tuple[tuple[str, str], ...]:
    """The parts of a text: literal text, each followed by a name, the last one by ''.

    Raises ValueError, where `every_brace` counts, for one that is not paired or has no name.
    """
    found: list[tuple[str, str]] = []
    literal, end = "", 0
    for match in (_EVERY_BRACE if every_brace else _SOME_BRACES).finditer(text):
        literal += text[end : match.start()]
        end = match.end()
        whole: str = match[0]
        if match["name"] == "":
            raise ValueError("{} has no name: a name is in braces, such as {client}")
        if match["name"] is not None:
            found.append((literal, match["name"]))
            literal = ""
        elif len(whole) == 1:
            raise ValueError(f"{whole!r} is not paired: a name is in braces, such as {{client}}")
        elif every_brace:
            literal += whole[0]
        else:
            literal += whole[1:-1]
    return (*found, (literal + text[end:], ""))


def foreign_variable(text: str, *, any_name: bool = False) -> str:
    """The first variable of another proxy in a text, or what has the form of one, with `any_name`; empty for none."""
    found = (_FOREIGN_FORM if any_name else _FOREIGN).search(text)
    return "" if found is None else found[0]
