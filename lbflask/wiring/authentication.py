"""Builds the checks of credentials that the configuration has, and what they share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from lbflask.config.auth import AuthConfig, BasicAuthConfig, ForwardAuthConfig, TokenAuthConfig
from lbflask.config.files import read_bytes
from lbflask.config.routes import RouteConfig
from lbflask.config.schema import Config
from lbflask.config.tls import BackendTLSConfig
from lbflask.control.doctor.findings import AuthTrouble
from lbflask.core.http.granted_fields import GrantedFields
from lbflask.core.http.service_address import service_address
from lbflask.core.password_file import PasswordHash
from lbflask.core.web_token import TokenRules
from lbflask.credentials.key_set import MAX_BYTES, KeySet
from lbflask.credentials.password_verifier import is_password
from lbflask.proxy.auth_counts import AuthCounts
from lbflask.proxy.basic_auth import BasicAuth, BasicAuthSettings
from lbflask.proxy.forward_auth import ForwardAuth, ForwardAuthSettings
from lbflask.proxy.password_checks import PasswordChecks, Verify
from lbflask.proxy.service_client import ServiceClient
from lbflask.proxy.services import SharedServices
from lbflask.proxy.signing_keys import SigningKeys
from lbflask.proxy.token_auth import TokenAuth, TokenAuthSettings
from lbflask.upstream.backend_transport import BackendTransport
from lbflask.upstream.connection_pool import ConnectionPool
from lbflask.upstream.dialer import Dialer

#: Passwords that are verified at once where each request has a thread.
_MOST_THREADS = 2
#: Seconds for a fetch of keys.
_FETCH_TIMEOUT = 10.0
#: Idle connections of a worker to a service, and the seconds for which each is kept.
_MAX_KEPT, _MAX_IDLE = 32, 30.0

AuthCheck = BasicAuth | ForwardAuth | TokenAuth
NewDialer = Callable[[BackendTLSConfig], Dialer]


class AuthParts:
    """What the checks of all configurations of a worker share. `beside` is that of ServerPort."""

    def __init__(self, beside: Callable[..., Any] | None, new_dialer: NewDialer) -> None:
        self.counts = AuthCounts()
        self.beside = beside or _few_at_once()
        self._new_dialer = new_dialer

    def __repr__(self) -> str:
        return f"AuthParts({self.counts!r})"

    def client(self, url: str, ca_file: str, timeout: float) -> ServiceClient:
        """The client of a service."""
        pool = ConnectionPool(time.monotonic, self._new_dialer(BackendTLSConfig(ca_file=ca_file)))
        transport = BackendTransport(pool, between_bytes=timeout, max_idle=_MAX_IDLE, max_kept=_MAX_KEPT)
        return ServiceClient(service_address(url), transport, timeout, time.monotonic)


class Authentication:
    """The checks of one configuration. Keys of tokens stay those of `before` where their source is the same."""

    def __init__(self, config: Config, parts: AuthParts, before: Authentication | None = None) -> None:
        self._config = config
        self._parts = parts
        self._checks: dict[int, AuthCheck] = {}  # by the id of the table
        known = {} if before is None else before.keys
        #: The keys of tokens, by their settings.
        self.keys: dict[tuple[object, ...], SigningKeys] = {}
        for table in self._tables():
            if table.jwt is not None:
                identity = _identity(table.jwt)
                alike = (keys for (source, *_), keys in known.items() if source == identity[0])
                self.keys[identity] = known.get(identity) or self._new_keys(table.jwt, next(alike, None))

    def __repr__(self) -> str:
        return f"Authentication({len(self._checks)} checks)"

    def start(self) -> None:
        """Begin to fetch keys in this process."""
        for keys in self.keys.values():
            keys.start()

    def stop(self, after: Authentication | None = None) -> None:
        """Fetch no more keys, but those that `after` has too."""
        kept = () if after is None else after.keys.values()
        for keys in self.keys.values():
            if keys not in kept:
                keys.stop()

    def troubles(self) -> list[AuthTrouble]:
        """What is wrong with the services that this worker asks."""
        found = [
            AuthTrouble("auth.jwt.jwks", keys.source, keys.error, not keys.has_keys)
            for keys in self.keys.values()
            if keys.error
        ]
        found += [
            AuthTrouble("auth.forward.url", check.name, check.trouble, refuses=True)
            for check in self._checks.values()
            if isinstance(check, ForwardAuth) and check.trouble
        ]
        return found

    def check(self, route: RouteConfig | None) -> AuthCheck | None:
        """The check of requests by the route, or by none; None without one. Routes with the same table share it."""
        table = self._config.auth_of(route)
        if table is None:
            return None
        if id(table) not in self._checks:
            self._checks[id(table)] = self._check(table)
        return self._checks[id(table)]

    @property
    def identity_fields(self) -> tuple[str, ...]:
        """The names of the fields that any check of the configuration grants; not Authorization, whose content proves
        itself.
        """
        names: list[str] = []
        for table in self._tables():
            names += [] if table.basic is None else [table.basic.user_field]
            names += [] if table.forward is None else table.forward.fields
            names += [] if table.jwt is None else table.jwt.fields.values()
        return tuple(dict.fromkeys(name for name in names if name and name.lower() != "authorization"))

    def services(self, services: SharedServices, route: RouteConfig | None) -> SharedServices:
        """The services of handlers behind the check: fields that it grants pass, whatever their names."""
        check = self.check(route)
        if check is None:
            return services
        granted: GrantedFields = check.granted
        return replace(services, hops=services.hops.keeping(granted.kept))

    def _tables(self) -> Iterator[AuthConfig]:
        """The tables of all levels."""
        tables = (self._config.auth, *(route.auth for route in self._config.routes))
        return (table for table in tables if table is not None)

    def _check(self, table: AuthConfig) -> AuthCheck:
        if table.basic is not None:
            return self._basic(table.basic)
        if table.forward is not None:
            return self._forward(table.forward)
        if table.jwt is not None:
            return self._token(table.jwt)
        raise RuntimeError("a table of auth has no kind")

    def _basic(self, table: BasicAuthConfig) -> BasicAuth:
        settings = BasicAuthSettings(table.realm, table.user_field, table.keep_credentials)
        passwords = PasswordChecks(table.hashes, is_password, self._parts.beside, table.cache, time.monotonic)
        return BasicAuth(settings, passwords, self._parts.counts)

    def _forward(self, table: ForwardAuthConfig) -> ForwardAuth:
        settings = ForwardAuthSettings(str(table.url), table.fields, table.cache, table.cache_by == "credentials")
        service = self._parts.client(table.url.reveal(), table.ca_file, table.timeout)
        return ForwardAuth(settings, service, self._parts.counts, time.monotonic)

    def _token(self, table: TokenAuthConfig) -> TokenAuth:
        rules = TokenRules(table.algorithms, table.issuer, table.audience, table.leeway)
        settings = TokenAuthSettings(rules, table.fields, table.keep_token)
        return TokenAuth(settings, self.keys[_identity(table)], self._parts.counts, time.time)

    def _new_keys(self, table: TokenAuthConfig, before: SigningKeys | None) -> SigningKeys:
        path = table.key_file()
        fetch = (
            partial(_keys_of_file, path)
            if path is not None
            else partial(_keys_of_service, self._parts.client(table.jwks.reveal(), table.ca_file, _FETCH_TIMEOUT))
        )
        return SigningKeys(str(table.jwks), fetch, table.refresh, time.monotonic, before)


def _identity(table: TokenAuthConfig) -> tuple[object, ...]:
    return table.jwks.reveal(), table.ca_file, table.refresh


def _keys_of_file(path: str) -> KeySet:
    return KeySet.parsed(read_bytes(path, most=MAX_BYTES))


def _keys_of_service(client: ServiceClient) -> KeySet:
    """Raises Fault, ValueError."""
    response = client.get([("Accept", "application/json")], MAX_BYTES)
    if response.status != 200:
        raise ValueError(f"it responded {response.status}")
    return KeySet.parsed(response.body)


def _few_at_once() -> Callable[[Verify, bytes, PasswordHash], bool]:
    """Calls a verification in the thread of its request, a few at once."""
    turns = threading.Semaphore(_MOST_THREADS)

    def call(verify: Verify, password: bytes, hashed: PasswordHash) -> bool:
        with turns:
            return verify(password, hashed)

    return call
