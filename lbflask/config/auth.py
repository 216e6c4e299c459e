"""Configuration of authentication: who may make requests (docs/how-to/authentication.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from lbflask.config.field_types import PRINTABLE, FieldName, SecondsOrZero, Section, checked_by, required
from lbflask.config.files import UnusableFile, read_text
from lbflask.config.paths import FilePath
from lbflask.core.http.header_edits import UNTOUCHABLE
from lbflask.core.password_file import BadPasswordLine, PasswordHash, password_hashes

#: Fields that a check may not write: those of a connection, of framing, and those that the balancer writes itself.
_RESERVED = UNTOUCHABLE | {"authorization", "cookie", "via", "x-request-id", "x-real-ip", "forwarded"}
_RESERVED |= {f"x-forwarded-{name}" for name in ("for", "proto", "host", "port", "method", "uri")}


def _check_granted(value: str) -> None:
    if value.lower() in _RESERVED:
        raise ValueError(f"{value} is written by the balancer itself; write another name, such as X-Forwarded-User")


GrantedName = Annotated[FieldName, checked_by(_check_granted)]
OptionalName = Annotated[
    str, required(re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]*").fullmatch, "must be the name of a header field, or empty"),
    checked_by(_check_granted),
]  # fmt: skip


class BasicAuthConfig(Section):
    """Users with passwords (RFC 7617). A path in the place of the table is its `file`."""

    short_form: ClassVar[str] = "file"

    file: FilePath
    """File of `user:hash` lines, as of `htpasswd -B`: bcrypt or Argon2 (`lbflask[auth]`). A reload reads it."""
    realm: Annotated[str, PRINTABLE, Field(max_length=128)] = "Restricted"
    """What browsers show when they ask for the password."""
    user_field: OptionalName = "X-Forwarded-User"
    """The field in which backends get the user's name; empty for none."""
    keep_credentials: bool = False
    """Whether backends get the Authorization field too."""
    cache: SecondsOrZero = 600.0
    """Seconds for which verified credentials are not verified again; 0 verifies each request."""
    _hashes: Mapping[str, PasswordHash] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str) else value

    @property
    def hashes(self) -> Mapping[str, PasswordHash]:
        """The hash of each user, as read during validation."""
        return self._hashes

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting, for an unusable file."""
        try:
            self._hashes = password_hashes(read_text(self.file))
        except (UnusableFile, BadPasswordLine) as error:
            raise ValueError(f"{where}.file: {self.file!r} {error}") from None
        for kind in {one.kind for one in self._hashes.values()}:
            if find_spec(kind) is None:
                raise ValueError(f"{where}.file: {kind} hashes need more: pip install 'lbflask[auth]'")


class AuthConfig(Section):
    """Who may make the requests: a table with one of `basic`, `open`."""

    basic: BasicAuthConfig | None = None
    """Users with passwords: the path of a file of `htpasswd -B`, or a table of `file`, `realm` and others."""
    open: Literal[True] | None = None
    """True: all requests pass, whatever the top level has; `auth = "none"` is the same."""

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting."""
        kinds = [kind for kind in type(self).model_fields if getattr(self, kind)]
        if len(kinds) != 1:
            reason = f"has {' and '.join(kinds)}, of which" if kinds else "lets no request pass:"
            raise ValueError(f'{where}: {reason} one must be set: basic, or "none" for open access')
        if self.basic is not None:
            self.basic.check(f"{where}.basic")


def _opened(value: Any) -> Any:
    """`none` and false stand for a table."""
    if value == "none" or value is False:
        return {"open": True}
    if isinstance(value, str) or value is True:
        raise ValueError('must be "none", or a table such as { basic = "users.htpasswd" }')
    return value


#: A table, or "none" for requests that need no credentials.
Auth = Annotated[AuthConfig | None, BeforeValidator(_opened)]
