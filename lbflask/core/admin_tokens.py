"""Tokens of the admin listener, each with a role and a name.

Secrets are kept as digests and compared in constant time, so that neither memory nor response times reveal one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

#: Printable ASCII that fits in one line, in a list separated by commas, and in a header field.
_SECRET = re.compile(r"[!-+\--~]{16,256}")
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


class Role(StrEnum):
    """The permissions of a token."""

    READ = "read"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class AdminToken:
    """The role and the name that the holder of the secret has. `digest` is of the secret, and never shown."""

    role: Role
    name: str
    digest: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> AdminToken:
        """Parse `role:name:secret`. Raises ValueError, whose message never contains the secret."""
        role, _, rest = text.partition(":")
        name, colon, secret = rest.partition(":")
        if not colon or role not in list(Role):
            raise ValueError("a token must be operator:NAME:SECRET or read:NAME:SECRET")
        if not _NAME.fullmatch(name):
            raise ValueError("the name of a token must be of letters, digits and . _ @ -")
        if not _SECRET.fullmatch(secret):
            raise ValueError(
                f"the secret of the token {name!r} must be 16 to 256 signs of ASCII without blanks and commas"
            )
        return cls(Role(role), name, digest(secret))


def digest(secret: str) -> bytes:
    """The digest of a secret. Secrets are long and random, so that a slow hash function is not needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def bearer(tokens: Iterable[AdminToken], secret: str) -> AdminToken | None:
    """The token with this secret, or None. The time does not depend on its position."""
    presented, found = digest(secret), None
    for token in tokens:
        if hmac.compare_digest(token.digest, presented):
            found = token
    return found


def masked(text: str) -> str:
    """The text of a token, valid or not, with its secret masked."""
    role, _, rest = text.partition(":")
    name, colon, _ = rest.partition(":")
    return f"{role}:{name}:***" if colon and role in list(Role) and _NAME.fullmatch(name) else "***"
