"""Who is asking, and may they? Nobody comes in but through the admin listener.

Programs show a token (RFC 6750), browsers a session, which is signed with the token that it was opened with and ends
with it. Without any token configured, whoever reaches the listener is an operator; but a browser must not be led there
by another site, neither by a form (CSRF) nor by a name that comes to mean this machine (DNS rebinding).
"""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from flask import Blueprint, Request, request

from lbflask.config.admin import AdminConfig, read_tokens
from lbflask.control.api.problems import Refused
from lbflask.core.admin_tokens import AdminToken, Role, bearer

log = logging.getLogger("lbflask.admin")

COOKIE = "lbflask_session"
#: Seconds that a session lasts.
SESSION_LIFETIME = 12 * 3600.0
#: A host and a port (RFC 9110 §7.2): names as browsers ask name servers for them, and of IPv6 no zone, which means
#: nothing to others (RFC 6874 §4).
_AUTHORITY = re.compile(r"([A-Za-z0-9._-]{1,254}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{0,5}))?")
_PORTS = {"http": "80", "https": "443"}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking. `csrf` is what a session has to show with each change."""

    role: Role
    name: str
    address: str = ""
    csrf: str | None = None

    @property
    def identity(self) -> str:
        """The visitor, for the log of what was done."""
        return f"{self.name} ({self.address})" if self.address else self.name


class TokenSet:
    """The tokens in effect. Those of the file are read again when it changes; while it can't be read, the last hold."""

    def __init__(self, settings: AdminConfig) -> None:
        self._configured = tuple(AdminToken.parse(text.reveal()) for text in settings.tokens)
        self._file = Path(settings.token_file) if settings.token_file else None
        self._file_version: tuple[int, int, int] | None = None
        self._file_tokens: Sequence[AdminToken] = ()

    def current(self) -> Sequence[AdminToken]:
        """All that are good now."""
        if self._file is not None:
            try:
                stat = self._file.stat()
                file_version = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                if file_version != self._file_version:
                    self._file_tokens = read_tokens(self._file, "admin.token_file")
                    self._file_version = file_version
            except (OSError, ValueError) as error:
                log.warning("the tokens were not read again: %s", error)
        return (*self._configured, *self._file_tokens)

    @property
    def required(self) -> bool:
        """Whether visitors need one: a file that has become empty is no open door."""
        return bool(self._configured) or self._file is not None


class Authenticator:
    """`clock` gives seconds since the epoch."""

    def __init__(self, tokens: TokenSet, clock: Callable[[], float]) -> None:
        self.tokens = tokens
        self._clock = clock

    def set_tokens(self, tokens: TokenSet) -> None:
        """Authenticate by these tokens; sessions of others end."""
        self.tokens = tokens

    def admit(self, request: Request, role: Role) -> Principal:
        """Who is asking, if they may do what needs the role. Raises Refused."""
        self.check_origin(request)
        principal = self.authenticate(request)
        if principal is None:
            raise Refused(401, "a token is needed: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"})
        if principal.csrf is not None and request.method not in SAFE_METHODS:
            csrf = request.headers.get("X-CSRF-Token", "")
            if not hmac.compare_digest(principal.csrf.encode(), csrf.encode("utf-8", "replace")):
                raise Refused(403, "the session's X-CSRF-Token is missing or not the right one")
        if role is Role.OPERATOR and principal.role is not Role.OPERATOR:
            raise Refused(403, f"the token {principal.name!r} may only read")
        return principal

    def guard(self, blueprint: Blueprint, role: Role) -> None:
        """Let nobody see a page of the blueprint who may not do what needs the role."""

        def admit() -> None:
            self.admit(request, role)

        blueprint.before_request(admit)

    def may_see_details(self, request: Request) -> bool:
        """Whether what only operators should read may be told. Raises Refused for a token that is none."""
        if not request.environ.get("lbflask.admin"):
            return False
        if not self.tokens.required and not _is_local(_authority(request)):
            return False
        return self.authenticate(request) is not None

    def authenticate(self, request: Request) -> Principal | None:
        """Who is asking; None for nobody that is known. Raises Refused for a token that is none."""
        address = request.remote_addr or "unix"
        if not self.tokens.required:
            return Principal(Role.OPERATOR, "local", address)
        tokens = self.tokens.current()
        authorization = request.headers.get("Authorization")
        if authorization is not None:
            scheme, _, secret = authorization.partition(" ")
            token = bearer(tokens, secret.strip()) if scheme.lower() == "bearer" else None
            if token is None:
                log.warning("refused a token that is none, from %s", address)
                raise Refused(401, "this token is none", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
            return Principal(token.role, token.name, address)
        cookie = request.cookies.get(COOKIE, "")
        match = self._session_token(tokens, cookie)
        return None if match is None else Principal(match.role, match.name, address, _mac(match, "csrf", cookie))

    def open_session(self, secret: str, address: str) -> tuple[str, Principal]:
        """A session for the token with this secret, as a cookie. Raises Refused."""
        token = bearer(self.tokens.current(), secret)
        if token is None:
            log.warning("refused a token that is none, from %s", address)
            raise Refused(401, "this token is none", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
        expires = f"{self._clock() + SESSION_LIFETIME:.0f}"
        cookie = f"{expires}|{token.name}|{_mac(token, 'session', expires)}"
        return cookie, Principal(token.role, token.name, address, _mac(token, "csrf", cookie))

    def check_origin(self, request: Request) -> None:
        """Raises Refused for what did not come through the admin listener, or was sent by a page of another site."""
        if not request.environ.get("lbflask.admin"):
            raise Refused(404, "there is nothing here")
        host = _authority(request)
        if not self.tokens.required and not _is_local(host):
            raise Refused(403, "without tokens this listener answers only to an address or to localhost as its name")
        if request.method in SAFE_METHODS:
            return
        origin = request.headers.get("Origin")
        if origin is not None and not _is_same_origin(origin, host):
            raise Refused(403, "this was sent by a page of another site")
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise Refused(403, "this was sent by a page of another site")

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


def _mac(token: AdminToken, purpose: str, text: str) -> str:
    """Only who knows the token's digest can make it."""
    return hmac.digest(token.digest, f"{purpose}|{token.role}|{token.name}|{text}".encode(), "sha256").hex()


def _authority(request: Request) -> str:
    """The Host as it came, which Werkzeug would take for none at all when it does not like it; empty for none."""
    host: str = request.environ.get("HTTP_HOST", "")
    return host


def _split(authority: str) -> tuple[str, str] | None:
    """Host, in small letters, and port of an authority; None for what is none or has no host."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None or (match[2] and int(match[2]) > 65_535):
        return None
    return match[1].lower(), match[2] or ""


def _is_local(authority: str) -> bool:
    """Whether a Host is an address, or a name that no name server is asked for (RFC 6761 §6.3)."""
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
    """Whether an Origin (RFC 6454 §6.2) is that of pages from this authority, as far as http or https goes."""
    scheme, mark, authority_of_origin = origin.partition("://")
    usual = _PORTS.get(scheme.lower())
    there, here = _split(authority_of_origin), _split(authority)
    if not mark or usual is None or there is None or here is None:
        return False
    return (there[0], there[1] or usual) == (here[0], here[1] or usual)
