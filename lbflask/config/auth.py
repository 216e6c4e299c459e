"""Configuration of authentication: who may make requests (docs/how-to/authentication.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from lbflask.config.field_types import (
    PRINTABLE,
    FieldName,
    Listed,
    Seconds,
    SecondsOrZero,
    Section,
    checked_by,
    required,
)
from lbflask.config.files import UnusableFile, read_text
from lbflask.config.paths import SOURCE, FilePath, absolute_path
from lbflask.config.redaction import ServiceURL
from lbflask.config.tls import BackendTLSConfig
from lbflask.core.http.header_edits import UNTOUCHABLE
from lbflask.core.http.service_address import service_address
from lbflask.core.password_file import BadPasswordLine, PasswordHash, password_hashes
from lbflask.core.web_token import ALGORITHMS

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


def _check_service_field(value: str) -> None:
    if value.lower() != "authorization":
        _check_granted(value)


def _check_service(value: ServiceURL) -> None:
    service_address(value.reveal())


def _check_key_source(value: ServiceURL) -> None:
    source = value.reveal()
    if source.startswith("file:"):
        if not absolute_path(source.removeprefix("file:")):
            raise ValueError("must name a file: file:keys.json")
        return
    try:
        service_address(source)
    except ValueError:
        raise ValueError("must be a URL such as https://login.example/jwks.json, or file:keys.json") from None


def _check_algorithm(value: str) -> None:
    if value not in ALGORITHMS:
        secret = ": its key would be a secret, which a set of public keys does not have" if value[:2] == "HS" else ""
        raise ValueError(f"{value!r} is not one of {', '.join(ALGORITHMS)}{secret}")


ServiceFieldName = Annotated[FieldName, checked_by(_check_service_field)]
Algorithm = Annotated[str, checked_by(_check_algorithm)]
#: Those of oauth2-proxy, Authelia, Authentik and others.
SERVICE_FIELDS = (
    "Remote-User", "Remote-Groups", "Remote-Name", "Remote-Email",
    "X-Forwarded-User", "X-Forwarded-Groups", "X-Forwarded-Email", "X-Forwarded-Preferred-Username",
    "X-Auth-Request-User", "X-Auth-Request-Groups", "X-Auth-Request-Email", "X-Auth-Request-Preferred-Username",
)  # fmt: skip


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


class ForwardAuthConfig(Section):
    """A service that decides about each request. A URL in the place of the table is its `url`."""

    short_form: ClassVar[str] = "url"

    url: Annotated[ServiceURL, checked_by(_check_service)]
    """The URL that is asked: 2xx lets a request pass; 401, 403 and redirections go to the client; all else is 503."""
    fields: Listed[ServiceFieldName] = SERVICE_FIELDS
    """Fields of the service's response that backends get; those of clients are removed."""
    timeout: Seconds = 5.0
    """Seconds in which the service must respond."""
    cache: SecondsOrZero = 0.0
    """Maximum seconds for which a request that was let pass is not asked about again; 0 asks each time."""
    cache_by: Literal["request", "credentials"] = "request"
    """What is alike: the whole `request` (client, URL, method, credentials), or only Cookie and Authorization."""
    ca_file: FilePath = ""
    """PEM file of the roots to trust under https, instead of those of the system."""

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting, for an unusable file."""
        BackendTLSConfig(ca_file=self.ca_file).check(where)


class TokenAuthConfig(Section):
    """JSON Web Tokens in Authorization (RFC 6750), such as those of OpenID Connect. They need `lbflask[auth]`."""

    jwks: Annotated[ServiceURL, SOURCE, checked_by(_check_key_source)]
    """Where the keys are that sign tokens: the URL of a JSON Web Key Set, or `file:PATH`."""
    issuer: str = ""
    """The `iss` that tokens must have; empty for any."""
    audience: Listed[str] = ()
    """One of these must be in `aud`; any unless set, although another service's tokens then count too."""
    algorithms: Annotated[Listed[Algorithm], Field(min_length=1)] = ("RS256", "ES256")
    """The algorithms of signatures; all have public keys."""
    fields: dict[str, GrantedName] = Field(default_factory=lambda: {"sub": "X-Forwarded-User"})
    """Fields for backends by claims, the first one for the user: `{ sub = "X-Forwarded-User", email = "X-Email" }`."""
    keep_token: bool = True
    """Whether backends get the Authorization field too."""
    leeway: SecondsOrZero = 30.0
    """Seconds by which clocks may differ."""
    refresh: Seconds = 300.0
    """Seconds between two fetches of the keys; an unknown key leads to another one."""
    ca_file: FilePath = ""
    """PEM file of the roots to trust under https, instead of those of the system."""

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting, for unusable files and a missing library."""
        if find_spec("jwt") is None or find_spec("cryptography") is None:
            raise ValueError(f"{where}.jwks: tokens need more: pip install 'lbflask[auth]'")
        BackendTLSConfig(ca_file=self.ca_file).check(where)
        if (path := self.key_file()) is not None:
            try:
                read_text(path)
            except UnusableFile as error:
                raise ValueError(f"{where}.jwks: {path!r} {error}") from None

    def key_file(self) -> str | None:
        """The path of the file of keys; None for a URL."""
        source = self.jwks.reveal()
        return absolute_path(source.removeprefix("file:")) if source.startswith("file:") else None


class AuthConfig(Section):
    """Who may make the requests: a table with one of `basic`, `forward`, `jwt`, `open`."""

    basic: BasicAuthConfig | None = None
    """Users with passwords: the path of a file of `htpasswd -B`, or a table of `file`, `realm` and others."""
    forward: ForwardAuthConfig | None = None
    """A service that decides: its URL, or a table of `url`, `fields`, `cache` and others."""
    jwt: TokenAuthConfig | None = None
    """JSON Web Tokens: a table of `jwks`, `issuer`, `audience` and others."""
    open: Literal[True] | None = None
    """True: all requests pass, whatever the top level has; `auth = "none"` is the same."""

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting."""
        kinds = [kind for kind in type(self).model_fields if getattr(self, kind)]
        if len(kinds) != 1:
            reason = f"has {' and '.join(kinds)}, of which" if kinds else "lets no request pass:"
            raise ValueError(f'{where}: {reason} one must be set: basic, forward, jwt, or "none" for open access')
        for kind in ("basic", "forward", "jwt"):
            if (table := getattr(self, kind)) is not None:
                table.check(f"{where}.{kind}")


def _opened(value: Any) -> Any:
    """`none` and false stand for a table."""
    if value == "none" or value is False:
        return {"open": True}
    if isinstance(value, str) or value is True:
        raise ValueError('must be "none", or a table such as { basic = "users.htpasswd" }')
    return value


#: A table, or "none" for requests that need no credentials.
Auth = Annotated[AuthConfig | None, BeforeValidator(_opened)]
