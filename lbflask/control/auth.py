"""Authentication and authorization on the admin listener, the only way to the control plane.

Programs send a token (RFC 6750). Browsers send a session cookie, which is signed with the token that opened it and is
valid as long as that token. Without configured tokens every client of the listener is an operator; then requests that
another site makes a browser send are rejected: by form (CSRF) and by DNS rebinding.
"""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from flask import Blueprint, Request, request

from lbflask.config.admin import AdminConfig, read_tokens
from lbflask.control.api.problems import Refused
from lbflask.core.admin_tokens import AdminToken, Role, bearer

log = logging.getLogger("lbflask.admin")

COOKIE = "lbflask_session"
#: Seconds until a session expires.
SESSION_LIFETIME = 12 * 3600.0
#: A host and a port (RFC 9110 §7.2): names that browsers resolve, and IPv6 addresses without a zone, which has a
#: meaning on one machine only (RFC 6874 §4).
_AUTHORITY = re.compile(r"([A-Za-z0-9._-]{1,254}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{0,5}))?")
_PORTS = {"http": "80", "https": "443"}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated client. `csrf` is the token that a session must send with each change."""

    role: Role
    name: str
    address: str = ""
    csrf: str | None = field(default=None, repr=False)

    @property
    def identity(self) -> str:
        """Name and address, for the audit log."""
        return f"{self.name} ({self.address})" if self.address else self.name


class TokenSet:
    """The tokens in effect.

    The token file is read again when it changes; while it is unreadable, its last tokens stay valid.
    """

    def __init__(self, settings: AdminConfig) -> None:
        self._configured = tuple(AdminToken.parse(text.reveal()) for text in settings.tokens)
        self._file = Path(settings.token_file) if settings.token_file else None
        self._file_version: tuple[int, int, int] | None = None
        self._file_tokens: Sequence[AdminToken] = ()

    def __repr__(self) -> str:
        return f"<TokenSet of {len(self._configured) + len(self._file_tokens)} tokens, file {self._file}>"

    def current(self) -> Sequence[AdminToken]:
        """All valid tokens."""
        if self._file is not None:
            try:
                stat = self._file.stat()
                file_version = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                if file_version != self._file_version:
                    self._file_tokens = read_tokens(self._file, "admin.token_file")
                    self._file_version = file_version
            except (OSError, ValueError) as error:
                log.warning("the token file was not reloaded: %s", error)
        return (*self._configured, *self._file_tokens)

    @property
    def required(self) -> bool:
        """Whether clients need a token. A configured file requires one even when it is empty."""
        return bool(self._configured) or self._file is not None


class Authenticator:
    """`clock` gives seconds since the epoch."""

    def __init__(self, tokens: TokenSet, clock: Callable[[], float]) -> None:
        self.tokens = tokens
        self._clock = clock

    def __repr__(self) -> str:
        return f"<Authenticator by {self.tokens!r}>"

    def set_tokens(self, tokens: TokenSet) -> None:
        """Authenticate by these tokens; sessions of others end."""
        self.tokens = tokens

    def admit(self, request: Request, role: Role) -> Principal:
        """The client of the request, if it has the role. Raises Refused."""
        self.check_origin(request)
        principal = self.authenticate(request)
        if principal is None:
            raise Refused(401, "a token is required: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"})
        if principal.csrf is not None and request.method not in SAFE_METHODS:
            csrf = request.headers.get("X-CSRF-Token", "")
            if not hmac.compare_digest(principal.csrf.encode(), csrf.encode("utf-8", "replace")):
                raise Refused(403, "the session's X-CSRF-Token is missing or wrong")
        if role is Role.OPERATOR and principal.role is not Role.OPERATOR:
            raise Refused(403, f"the token {principal.name!r} may only read")
        return principal

    def guard(self, blueprint: Blueprint, role: Role) -> None:
        """Require the role for all pages of the blueprint."""

        def admit() -> None:
            self.admit(request, role)

        blueprint.before_request(admit)

    def may_see_details(self, request: Request) -> bool:
        """Whether the response may have details for operators. Raises Refused for an invalid token."""
        if not request.environ.get("lbflask.admin"):
            return False
        if not self.tokens.required and not _is_local(_authority(request)):
            return False
        return self.authenticate(request) is not None

    def authenticate(self, request: Request) -> Principal | None:
        """The client; None without credentials or with an expired session. Raises Refused for an invalid token."""
        address = request.remote_addr or "unix"
        if not self.tokens.required:
            return Principal(Role.OPERATOR, "local", address)
        tokens = self.tokens.current()
        authorization = request.headers.get("Authorization")
        if authorization is not None:
            scheme, _, secret = authorization.partition(" ")
            token = _valid(tokens, secret.strip() if scheme.lower() == "bearer" else "", address)
            return Principal(token.role, token.name, address)
        cookie = request.cookies.get(COOKIE, "")
        match = self._session_token(tokens, cookie)
        return None if match is None else Principal(match.role, match.name, address, _mac(match, "csrf", cookie))

    def open_session(self, secret: str, address: str) -> tuple[str, Principal]:
        """Open a session for the token with this secret. Returns the cookie. Raises Refused."""
        token = _valid(self.tokens.current(), secret, address)
        expires = f"{self._clock() + SESSION_LIFETIME:.0f}"
        cookie = f"{expires}|{token.name}|{_mac(token, 'session', expires)}"
        return cookie, Principal(token.role, token.name, address, _mac(token, "csrf", cookie))

    def check_origin(self, request: Request) -> None:
        """Raises Refused for requests of other listeners, and for those that a page of another site has sent."""
        if not request.environ.get("lbflask.admin"):
            raise Refused(404, "not found")
        host = _authority(request)
        if not self.tokens.required and not _is_local(host):
            raise Refused(403, "without tokens, Host must be an address or localhost")
        if request.method in SAFE_METHODS:
            return
        origin = request.headers.get("Origin")
        foreign = origin is not None and not _is_same_origin(origin, host)
        if foreign or request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise Refused(403, "the request was sent by a page of another site")

    def _session_token(self, tokens: Sequence[AdminToken], cookie: str) -> AdminToken | None:
        expires, _, rest = cookie.partition("|")
        name, _, mac = rest.partition("|")
        if not (expires.isascii() and expires.isdigit()) or len(expires) > 12 or int(expires) < self._clock():
            return None
        match = None
        for token in tokens:
            expected = _mac(token, "session", expires)
            if token.name == name and hmac.compare_digest(expected.encode(), mac.encode("utf-8", "replace")):
                match = token
        return match


def _valid(tokens: Sequence[AdminToken], secret: str, address: str) -> AdminToken:
    """The token with this secret. Raises Refused, and logs the address, if there is none."""
    token = bearer(tokens, secret)
    if token is None:
        log.warning("rejected an invalid token from %s", address)
        raise Refused(401, "invalid token", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
    return token


def _mac(token: AdminToken, purpose: str, text: str) -> str:
    """A MAC that requires the digest of the token."""
    return hmac.digest(token.digest, f"{purpose}|{token.role}|{token.name}|{text}".encode(), "sha256").hex()


def _authority(request: Request) -> str:
    """The Host field unchanged, empty if absent; Werkzeug would hide malformed values."""
    host: str = request.environ.get("HTTP_HOST", "")
    return host


def _split(authority: str) -> tuple[str, str] | None:
    """Host in lower case and port of an authority; None if it is malformed or has no host."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None or (match[2] and int(match[2]) > 65_535):
        return None
    return match[1].lower(), match[2] or ""


def _is_local(authority: str) -> bool:
    """Whether a Host is an address, or a name that is never resolved by DNS (RFC 6761 §6.3)."""
    match = _split(authority)
    if match is None:
        return False
    host = match[0]
    if host.startswith("["):
        return _is_address(IPv6Address, host[1:-1])
    name = host.removesuffix(".")
    return name == "localhost" or name.endswith(".localhost") or _is_address(IPv4Address, host)


def _is_address(kind: type[IPv4Address | IPv6Address], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def _is_same_origin(origin: str, authority: str) -> bool:
    """Whether an Origin (RFC 6454 §6.2) has this authority, under either scheme."""
    scheme, mark, authority_of_origin = origin.partition("://")
    usual = _PORTS.get(scheme.lower())
    there, here = _split(authority_of_origin), _split(authority)
    if not mark or usual is None or there is None or here is None:
        return False
    return (there[0], there[1] or usual) == (here[0], here[1] or usual)
