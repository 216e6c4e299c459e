"""Configuration of sticky sessions. The file of secrets is read during validation."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import PrivateAttr

from lbflask.config.field_types import Listed, Seconds, Section, checked_by, required
from lbflask.config.files import UnusableFile, read_text
from lbflask.config.paths import FilePath
from lbflask.config.redaction import Secret
from lbflask.core import model
from lbflask.core.http.field_names import TCHAR
from lbflask.core.model import LEAST_SECRET

#: The names of fields that requests and responses may have anyway.
_CUSTOM = re.compile(r"x-(?!forwarded-|real-ip|request-id).+", re.IGNORECASE)


def _secrets_in(path: str) -> tuple[str, ...]:
    """The lines of the file; none without a file. Raises ValueError."""
    if not path:
        return ()
    try:
        lines = read_text(path).split("\n")
    except UnusableFile as error:
        raise ValueError(f"{path!r} {error}") from None
    secrets = tuple(line.strip() for line in lines if line.strip())
    if not secrets:
        raise ValueError("there is no secret in it")
    if min(map(len, secrets)) < LEAST_SECRET:
        raise ValueError(f"a secret in it has less than {LEAST_SECRET} characters")
    return secrets


CookieName = Annotated[
    str,
    required(re.compile(f"{TCHAR}*").fullmatch, "must be the name of a cookie: letters, digits and !#$%&'*+-.^_`|~"),
]
CookiePath = Annotated[
    str,
    required(re.compile(r"/[!-:<-~]*").fullmatch, "must be a path that begins with /, without blanks and without ;"),
]
CookieDomain = Annotated[
    str,
    required(
        re.compile(r"(?:[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*)?", re.ASCII).fullmatch,
        "must be the name of a host, as in shop.example",
    ),
]
SigningSecret = Annotated[
    Secret, required(lambda text: len(text) >= LEAST_SECRET, f"must have {LEAST_SECRET} characters or more")
]


class StickyConfig(Section):
    """A cookie by which a session keeps its backend (docs/sessions.md)."""

    cookie: CookieName = ""
    """Name of the cookie; empty for no sticky sessions. Pools of the same host need different names or paths."""
    header: CookieName = ""
    """Name of a header field instead, such as X-Session, for clients without cookies: they send what responses had."""
    path: CookiePath = "/"
    """The path with which clients send it; paths below are included."""
    domain: CookieDomain = ""
    """The domain whose hosts get it; empty for the host of the response only."""
    max_age: Seconds | None = None
    """Seconds for which a session keeps its backend; unless set, as long as the client keeps the cookie."""
    secure: bool | None = None
    """Whether clients send it over https only; unless set, those of requests over https."""
    http_only: bool = True
    """Whether scripts cannot read it."""
    same_site: Literal["lax", "strict", "none", ""] = "lax"
    """Requests of other sites with which clients send it (SameSite); empty for no such attribute."""
    secrets: Listed[SigningSecret] = ()
    """Secrets of the signature: the first one signs, all are accepted. Without any, the store has one for the fleet."""
    secret_file: Annotated[FilePath, checked_by(_secrets_in)] = ""
    """A file with secrets instead, one per line."""

    _from_file: tuple[str, ...] = PrivateAttr(default=())

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting, for settings that exclude each other."""
        if self.cookie and self.header:
            raise ValueError(f"{where}.header: there is {where}.cookie already; a session has one of them")
        if not self.cookie and not self.header:
            reason = f"there are no sticky sessions without {where}.cookie or {where}.header"
            self.check_unused(where, sorted(type(self).model_fields), reason)
            return
        if self.header:
            of_cookie = ("domain", "http_only", "path", "same_site", "secure")
            self.check_unused(where, of_cookie, f"it belongs to cookies, and there is {where}.header instead")
            if _CUSTOM.fullmatch(self.header) is None:
                raise ValueError(f"{where}.header: must be a name of its own, such as X-Session, not {self.header!r}")
        self._from_file = _secrets_in(self.secret_file)
        if self.secrets and self.secret_file:
            raise ValueError(f"{where}.secret_file: there are {where}.secrets already")
        if self.same_site == "none" and not self.secure:
            raise ValueError(f"{where}.same_site: browsers accept 'none' only with {where}.secure = true")
        if self.cookie.lower().startswith(("__host-", "__secure-")) and not self.secure:
            raise ValueError(f"{where}.cookie: browsers accept {self.cookie!r} only with {where}.secure = true")
        if self.cookie.lower().startswith("__host-") and (self.domain or self.path != "/"):
            raise ValueError(f"{where}.cookie: browsers accept {self.cookie!r} only with the path / and no domain")

    @property
    def secrets_of_file(self) -> tuple[str, ...]:
        """The secrets of `secret_file`, as it was when the configuration was read."""
        return self._from_file

    def to_model(self) -> model.StickyCookie | None:
        """The cookie as a value of the core; None without sticky sessions."""
        if not self.cookie and not self.header:
            return None
        attributes = (self.path, self.domain, self.max_age, self.secure, self.http_only, self.same_site)
        secrets = tuple(secret.reveal() for secret in self.secrets) or self._from_file
        return model.StickyCookie(self.cookie or self.header, *attributes, secrets, bool(self.header))
