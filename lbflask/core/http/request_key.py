"""The request key of strategies that hash, of splits and limits, in one form for all spellings.

Backends differ in what they make of one request. A value has one form for all ways in which backends decode it, and of
a key that stands there several times each value counts (docs/limits.md).
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from lbflask.core.http.field_names import is_token
from lbflask.core.http.target import host_of
from lbflask.core.http.types import Fields

#: What may stand in a query before `=` (RFC 3986 §3.4).
_is_parameter = re.compile(r"[A-Za-z0-9._~!$'()*+,;:@/?%-]+", re.ASCII).fullmatch
_CREDENTIALS = frozenset({"authorization", "proxy-authorization"})
_SLASHED = re.compile(r"\\([0-3][0-7]{2}|.)", re.DOTALL)
#: Signs without a width that clients of a value drop as they drop blanks: JavaScript's `trim` has the first of them.
_UNSEEN = "\ufeff\u200b"
#: A list (RFC 9110 §5.6.1) of values without blanks, as keys are; prose such as a User-Agent is none.
_LIST = re.compile(r"[^\s,()]*(?:[ \t]*,[ \t]*[^\s,()]*)+")
_UNDERSCORES = str.maketrans(". ", "__")
_NO_LETTER = re.compile(r"[^a-z0-9]")
#: Characters of a field's name that are compared; more than the name of a key has.
_LONGEST = 64
#: Between keys that are used together.
KEYS_BETWEEN = " + "
#: Times that a value is decoded: some stacks do it twice.
_ROUNDS = 2


class RequestKey(NamedTuple):
    """Where the key stands: `client`, `uri`, or the `header`, `cookie` or `query` parameter of a name."""

    kind: str
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> RequestKey:
        """The key as it is configured, such as `cookie:session`. Raises ValueError."""
        kind, colon, name = text.partition(":")
        if text in ("client", "uri"):
            return cls(text)
        is_name = {"header": is_token, "cookie": is_token, "query": _is_parameter}.get(kind)
        if not colon or is_name is None:
            raise ValueError("must be client, uri, header:NAME, cookie:NAME or query:NAME")
        if not is_name(name):
            raise ValueError(f"{name!r} is no name of a {kind}" + (" parameter" if kind == "query" else ""))
        return cls(kind, name.lower() if kind == "header" else name)

    def of(self, client: str, target: str, fields: Fields) -> str | None:
        """The one key of a request from `client` for `target` (origin-form); None if it has none.

        Of several lines of a header all count, as if they were one (RFC 9110 §5.3); of several cookies or parameters
        of the name, the first.
        """
        if self.kind == "header":
            return ", ".join(filter(None, self._lines(fields))) or None
        values = self.values(client, target, fields)
        return values[0] if values else None

    def values(self, client: str, target: str, fields: Fields) -> list[str]:
        """All values that a backend may take for the key, without repeats and empty ones; those under the exact name
        come first.
        """
        if self.kind == "client":
            return [] if client in ("", "unix:") else [client]  # all clients of a unix socket would be one
        if self.kind == "uri":
            return [target]
        if self.kind == "header":
            found = self._lines(fields)
            found += [_plain(member) for line in found if _LIST.fullmatch(line) for member in line.split(",")]
        elif self.kind == "cookie":
            # RFC 6265 §5.4; commas part cookies by RFC 2965, and join lines in WSGI.
            found = self._named(";".join([value for name, value in fields if name.lower() == "cookie"]), ";", ",")
        else:
            found = self._named(target.partition("?")[2], "&", ";")  # HTML 4 §B.2.2 has `;` too
        return [value for value in dict.fromkeys(found) if value]

    def _lines(self, fields: Fields) -> list[str]:
        """The values of the lines of the name; then of names that become the same variable of a CGI environment."""
        form = _credentials if self.name in _CREDENTIALS else host_of if self.name == "host" else _plain
        exact = [form(value) for name, value in fields if name.lower() == self.name]
        mine = _variable(self.name)
        alike = [form(value) for name, value in fields if _variable(name) == mine and name.lower() != self.name]
        return exact + alike

    def _named(self, text: str, mark: str, other: str) -> list[str]:
        """The values of the name where the first mark parts pairs, or both do."""
        exact: list[str] = []
        alike: list[str] = []
        for part in text.split(mark):
            for pair in (part, *part.split(other)) if other in part else (part,):
                name, _, value = pair.partition("=")
                if _stripped(name) == self.name:
                    exact.append(_decoded(value))
                elif _folded(name) == _folded(self.name):
                    alike.append(_decoded(value))
        return exact + alike


def parse_keys(text: str) -> tuple[RequestKey, ...]:
    """The keys of a text such as `client + uri`. Raises ValueError."""
    keys = tuple(RequestKey.parse(part.strip()) for part in text.split(KEYS_BETWEEN))
    if len(set(keys)) < len(keys):
        raise ValueError("a key stands there twice")
    return keys


def joint_key(keys: Sequence[RequestKey], client: str, target: str, fields: Fields) -> str | None:
    """One key of all values that a request has for the keys; None if it has none. As of `RequestKey.of`."""
    if len(keys) == 1:
        return keys[0].of(client, target, fields)
    values = [key.of(client, target, fields) for key in keys]
    # A value has no NUL, so that different values never make one key.
    return None if all(value is None for value in values) else "\0".join([value or "" for value in values])


def _decoded(value: str) -> str:
    """The value in the form of the most thorough decoder: no quotes, no percent-encoding, `+` as blank, cut at NUL."""
    for _ in range(_ROUNDS):
        if value.startswith('"'):
            value = _SLASHED.sub(_unslashed, value[1:-1])  # RFC 9110 §5.6.4, and octal numbers, which Python writes
        if "%" in value:
            value = unquote(value, "latin-1")
    return _stripped(value.replace("+", " ").partition("\0")[0])


def _plain(value: str) -> str:
    """The value of a field, without the quotes of a quoted string (RFC 9110 §5.6.4)."""
    value = _stripped(value)
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = _stripped(_SLASHED.sub(_unslashed, value[1:-1]))
    return value


def _stripped(value: str) -> str:
    """The text without the blanks around it that any backend strips, those of Unicode too; UTF-8 is decoded."""
    if not value.isascii():
        try:
            value = value.encode("latin-1").decode("utf-8")
        except UnicodeError:
            pass  # it is Latin-1, or was decoded before
    stripped = value.strip().strip(_UNSEEN)
    while stripped != value:
        value, stripped = stripped, stripped.strip().strip(_UNSEEN)
    return stripped


@lru_cache(maxsize=1024)
def _variable(name: str) -> str:
    return _NO_LETTER.sub("-", name[:_LONGEST].lower())


def _unslashed(found: re.Match[str]) -> str:
    sign = found[1]
    return chr(int(sign, 8)) if len(sign) == 3 else sign


@lru_cache(maxsize=1024)
def _folded(name: str) -> str:
    """The name as servers know it that undo percent-encoding, ignore case, or make a variable or a list of it."""
    plain = unquote(name.replace("+", " "), "latin-1").partition("\0")[0]
    return _stripped(plain.partition("[")[0]).lower().translate(_UNDERSCORES)


def _credentials(value: str) -> str:
    """RFC 9110 §11.4: the scheme in small letters and one blank; of Basic the text that was encoded (RFC 7617 §2)."""
    scheme, rest = [*_stripped(value).split(None, 1), "", ""][:2]
    scheme, rest = scheme.lower(), _stripped(rest).strip(", ")
    if scheme == "basic":
        try:
            rest = a2b_base64(rest + "==").decode("latin-1")
        except (Error, ValueError):
            pass  # no backend can read it
    return f"{scheme} {rest}" if rest else scheme
