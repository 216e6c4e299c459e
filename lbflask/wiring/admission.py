"""Builds the checks of requests before the handlers of pools and routes, where the configuration has any."""

from __future__ import annotations

from typing import TypeVar

from lbflask.config.access import AccessConfig
from lbflask.config.routes import RouteConfig
from lbflask.config.schema import Config
from lbflask.config.traffic import GlobalTrafficConfig
from lbflask.core.access_list import AccessList
from lbflask.proxy.access import AccessCheck
from lbflask.proxy.admission import AdmissionCheck, AdmissionHandler
from lbflask.proxy.certified_clients import CertifiedClients
from lbflask.proxy.local_replies import LocalReplies
from lbflask.proxy.preflight_exemption import PreflightExemption
from lbflask.proxy.router import Handler
from lbflask.proxy.services import SharedServices
from lbflask.proxy.stated_identity import StatedIdentity
from lbflask.wiring.authentication import Authentication
from lbflask.wiring.pipelines import proxy_settings

H = TypeVar("H", bound=Handler)


class Admission:
    """The checks of one configuration."""

    def __init__(self, config: Config, services: SharedServices, authentication: Authentication) -> None:
        self._config = config
        self._services = services
        self._authentication = authentication
        self._access: dict[AccessConfig, AccessList] = {}
        names = authentication.identity_fields
        self._identity = StatedIdentity(names) if names else None

    def __repr__(self) -> str:
        return "Admission()"

    def before(self, handler: H, pool: str = "", route: RouteConfig | None = None) -> H | AdmissionHandler:
        """The handler behind the checks for requests by this route to this pool: without any, the handler itself."""
        settings = proxy_settings(self._config, pool, route)
        checks = self.checks(pool, route, answers_preflight=bool(pool) and settings.cors is not None)
        if not checks:
            return handler
        label = "" if route is None else route.label
        replies = LocalReplies(self._services, settings, pool=pool, route=label)
        return AdmissionHandler(handler, checks, replies)

    def services(self, route: RouteConfig | None = None) -> SharedServices:
        """The services of handlers behind these checks."""
        return self._authentication.services(self._services, route)

    def checks(self, pool: str, route: RouteConfig | None, *, answers_preflight: bool) -> list[AdmissionCheck]:
        """The checks, in their order: addresses first, since they cost least, and credentials last."""
        access, credentials = self._access_list(self._config.traffic(pool, route)), self._authentication.check(route)
        found: list[AdmissionCheck] = [] if access is None else [AccessCheck(access)]
        if route is not None and route.client_certificate:
            found.append(CertifiedClients())
        if pool and self._identity is not None:
            found.append(self._identity)
        if credentials is not None:
            found.append(PreflightExemption(credentials) if answers_preflight else credentials)
        return found

    def _access_list(self, traffic: GlobalTrafficConfig) -> AccessList | None:
        """The list of these settings; equal settings share one. None if they admit everyone."""
        setting = traffic.access
        if not (setting.allow or setting.deny):
            return None
        found = self._access.get(setting)
        if found is None:
            found = self._access[setting] = AccessList(*setting.to_lists(traffic.networks))
        return found
