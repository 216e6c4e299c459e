"""Builds the checks of credentials that the configuration has, and what they share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lbflask.config.auth import AuthConfig, BasicAuthConfig
from lbflask.config.routes import RouteConfig
from lbflask.config.schema import Config
from lbflask.core.http.granted_fields import GrantedFields
from lbflask.core.password_file import PasswordHash
from lbflask.credentials.password_verifier import is_password
from lbflask.proxy.auth_counts import AuthCounts
from lbflask.proxy.basic_auth import BasicAuth, BasicAuthSettings
from lbflask.proxy.password_checks import PasswordChecks, Verify
from lbflask.proxy.services import SharedServices

#: Passwords that are verified at once where each request has a thread.
_MOST_THREADS = 2

AuthCheck = BasicAuth


class Authentication:
    """The checks of one configuration. `beside` is that of ServerPort."""

    def __init__(self, config: Config, beside: Callable[..., Any] | None, counts: AuthCounts) -> None:
        self._config = config
        self._beside = beside or _few_at_once()
        self._counts = counts
        self._checks: dict[int, AuthCheck] = {}  # by the id of the table

    def __repr__(self) -> str:
        return f"Authentication({len(self._checks)} checks)"

    def check(self, route: RouteConfig | None) -> AuthCheck | None:
        """The check of requests by the route, or by none; None without one. Routes with the same table share it."""
        table = self._config.auth_of(route)
        if table is None:
            return None
        if id(table) not in self._checks:
            self._checks[id(table)] = self._check(table)
        return self._checks[id(table)]

    def services(self, services: SharedServices, route: RouteConfig | None) -> SharedServices:
        """The services of handlers behind the check: fields that it grants pass, whatever their names."""
        check = self.check(route)
        if check is None:
            return services
        granted: GrantedFields = check.granted
        return replace(services, hops=services.hops.keeping(granted.kept))

    def _check(self, table: AuthConfig) -> AuthCheck:
        if table.basic is None:
            raise RuntimeError("a table of auth has no kind")
        return self._basic(table.basic)

    def _basic(self, table: BasicAuthConfig) -> BasicAuth:
        settings = BasicAuthSettings(table.realm, table.user_field, table.keep_credentials)
        passwords = PasswordChecks(table.hashes, is_password, self._beside, table.cache, time.monotonic)
        return BasicAuth(settings, passwords, self._counts)


def _few_at_once() -> Callable[[Verify, bytes, PasswordHash], bool]:
    """Calls a verification in the thread of its request, a few at once."""
    turns = threading.Semaphore(_MOST_THREADS)

    def call(verify: Verify, password: bytes, hashed: PasswordHash) -> bool:
        with turns:
            return verify(password, hashed)

    return call
