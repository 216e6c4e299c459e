"""Files of users and hashes of their passwords, as `htpasswd` writes them: a user, a colon and a hash on each line.

Only hashes that are slow to guess are accepted: bcrypt and Argon2 (RFC 9106).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lbflask.core.http.credentials import MAX_USER
from lbflask.core.printable import printable

#: Characters of a line.
MAX_LINE: Final = 1024
#: Bounds of the cost of a hash: rounds of bcrypt as a power of two; KiB, passes and lanes of Argon2.
MAX_ROUNDS, MAX_KIB, MAX_PASSES, MAX_LANES = 16, 1 << 20, 64, 64

_BCRYPT: Final = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_ARGON2: Final = re.compile(
    r"\$argon2(?:id|i|d)\$v=\d{1,3}\$m=(\d{1,10}),t=(\d{1,10}),p=(\d{1,10})\$[A-Za-z0-9+/]{4,200}\$[A-Za-z0-9+/]{4,200}"
)
_INSTEAD: Final = "write it anew with `htpasswd -B FILE USER` (bcrypt), or as Argon2"
#: Other hashes by their begin, and what is wrong with each.
_UNUSABLE: Final = (
    ("$apr1$", "MD5 is guessed too fast"),
    ("$1$", "MD5 is guessed too fast"),
    ("{SHA}", "SHA-1 without a salt is guessed too fast"),
    ("{SSHA}", "SHA-1 is guessed too fast"),
    ("{PLAIN}", "the password must not be there in clear"),
    ("$5$", "SHA-crypt is not supported"),
    ("$6$", "SHA-crypt is not supported"),
    ("$y$", "yescrypt is not supported"),
    ("$7$", "scrypt is not supported"),
)


class BadPasswordLine(ValueError):
    """A line cannot be used. `line` counts from 1; the message has the reason, and nothing of a hash."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """The hash of a password: `bcrypt` or `argon2`, and its text."""

    kind: str
    text: str = field(repr=False)


def password_hashes(text: str) -> Mapping[str, PasswordHash]:
    """The hash of each user of a file. Lines that are empty or begin with # are comments. Raises BadPasswordLine."""
    found: dict[str, PasswordHash] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        user, colon, rest = stripped.partition(":")
        if len(stripped) > MAX_LINE:
            raise BadPasswordLine(number, f"is longer than {MAX_LINE} characters")
        if not colon or not user:
            raise BadPasswordLine(number, "is not user:hash")
        if len(user.encode()) > MAX_USER or not user.isprintable() or user != user.strip():
            limits = f"printable, without blanks at its ends, and of {MAX_USER} bytes at most"
            raise BadPasswordLine(number, f"the user's name must be {limits}")
        if user in lines:
            raise BadPasswordLine(number, f"the user {printable(user)} is on line {lines[user]} already")
        try:
            found[user] = _hash(rest)
        except ValueError as error:
            raise BadPasswordLine(number, f"the hash of {printable(user)}: {error}") from None
        lines[user] = number
    if not found:
        raise BadPasswordLine(1, "there is no user in the file")
    return found


def _hash(text: str) -> PasswordHash:
    """Raises ValueError with the reason."""
    if (bcrypt := _BCRYPT.fullmatch(text)) is not None:
        if not 4 <= int(bcrypt[1]) <= MAX_ROUNDS:
            raise ValueError(f"its cost must be from 4 to {MAX_ROUNDS}")
        return PasswordHash("bcrypt", text)
    if (argon2 := _ARGON2.fullmatch(text)) is not None:
        kib, passes, lanes = map(int, argon2.groups())
        if not (0 < passes <= MAX_PASSES and 0 < lanes <= MAX_LANES and 8 * lanes <= kib <= MAX_KIB):
            raise ValueError(f"its cost must be at most m={MAX_KIB}, t={MAX_PASSES}, p={MAX_LANES}")
        return PasswordHash("argon2", text)
    for begin, reason in _UNUSABLE:
        if text.startswith(begin):
            raise ValueError(f"{reason}; {_INSTEAD}")
    raise ValueError(f"it is neither bcrypt nor Argon2; {_INSTEAD}")
