"""Builds the checks of requests before the handlers of pools and routes, where the configuration has any."""

from __future__ import annotations

from typing import TypeVar

from lbflask.config.routes import RouteConfig
from lbflask.config.schema import Config
from lbflask.proxy.admission import AdmissionCheck, AdmissionHandler
from lbflask.proxy.local_replies import LocalReplies
from lbflask.proxy.router import Handler
from lbflask.proxy.services import SharedServices
from lbflask.wiring.pipelines import proxy_settings

H = TypeVar("H", bound=Handler)


class Admission:
    """The checks of one configuration."""

    def __init__(self, config: Config, services: SharedServices) -> None:
        self._config = config
        self._services = services

    def __repr__(self) -> str:
        return "Admission()"

    def before(self, handler: H, pool: str = "", route: RouteConfig | None = None) -> H | AdmissionHandler:
        """The handler behind the checks for requests by this route to this pool: without any, the handler itself."""
        checks = self.checks(pool, route)
        if not checks:
            return handler
        label = "" if route is None else route.label
        replies = LocalReplies(self._services, proxy_settings(self._config, pool, route), pool=pool, route=label)
        return AdmissionHandler(handler, checks, replies)

    def checks(self, pool: str, route: RouteConfig | None) -> list[AdmissionCheck]:  # noqa: ARG002
        """The checks, in their order."""
        return []
