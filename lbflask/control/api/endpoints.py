"""The operations of the API: each is a row of the table and a short method."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from flask import Request, Response
from pydantic import ValidationError

from lbflask.config.backends import BackendConfig as ConfiguredBackend
from lbflask.config.certificates import CertificateFile, certificate_files
from lbflask.config.render import effective, explained, version
from lbflask.config.store_command import store_command
from lbflask.control import instance_views, views
from lbflask.control.api import bodies, models, openapi
from lbflask.control.api.bans import ban_operations
from lbflask.control.api.debug import debug_operations
from lbflask.control.api.events import event_operations
from lbflask.control.api.instances import instance_operations
from lbflask.control.api.operation import ApiCall, Operation, json_response
from lbflask.control.api.problems import Refused
from lbflask.control.api.sse import EventStreams
from lbflask.control.auth import COOKIE, SESSION_LIFETIME, Authenticator
from lbflask.control.doctor.backends import Reach
from lbflask.control.doctor.certificates import CertificateFacts
from lbflask.control.doctor.diagnosis import diagnose, troubles
from lbflask.control.doctor.findings import CommandFacts
from lbflask.control.explain import parse_query
from lbflask.control.operations import Action, Operations, etag_of
from lbflask.control.pool_state import PoolState
from lbflask.core.admin_tokens import Role
from lbflask.core.membership import members
from lbflask.core.model import Backend, Mode
from lbflask.core.reload import ReloadOutcome, ReloadUnavailable
from lbflask.store.embedded import store_url
from lbflask.store.ports import StoreMemory
from lbflask.telemetry.debug import SWITCH, DebugSwitch

_BACKEND = "/pools/<pool>/backends/<backend>"

#: Makes the change of an action, from the body of the request. Returns the pool after it, and whether it differs.
Change = Callable[[Action, Any], tuple[PoolState, bool]]


class AdminApi:
    """The views. `instance` names the gunicorn that answers; `reload` reloads its configuration or raises
    ReloadUnavailable. `certificate_expiry` is when the certificate expires that a backend presented last.
    """

    def __init__(
        self,
        operations: Operations,
        authenticator: Authenticator,
        instance: str,
        reach: Reach,
        reload: Callable[[], ReloadOutcome],
        stopping: Callable[[], bool] = lambda: False,
        debug: DebugSwitch = SWITCH,
        certificate_expiry: Callable[[Backend], float | None] = lambda _: None,
    ) -> None:
        self._operations = operations
        self._reload = reload
        self._authenticator = authenticator
        self._instance = instance
        self._reach = reach
        self._certificate_expiry = certificate_expiry
        self._debug_operations = debug_operations(debug, operations, instance)
        self.streams = EventStreams(operations, self.state, stopping)

    def __repr__(self) -> str:
        return f"<AdminApi of {self._instance}: {self._operations!r}>"

    def table(self) -> list[Operation]:
        """All operations."""
        return [
            *self._read_operations(),
            *event_operations(self._operations, self.streams),
            *self._session_operations(),
            *self._backend_operations(),
            *self._debug_operations,
            *instance_operations(self._operations, self._instance),
            *ban_operations(self._operations),
        ]

    def state(self) -> models.StateView:
        """The current state of the fleet."""
        operations = self._operations
        pool_states = operations.pool_states()
        state = views.state(pool_states, operations.fleet, operations.drains(), answered_by=self._instance)
        certificates = self._certificates(self._operations.running.certificates)
        return state.model_copy(
            update={"findings": troubles(state, _members(pool_states), self._command_facts(None), certificates)}
        )

    def instances(self) -> list[models.InstanceView]:
        """The instances, as far as the store is in reach; else none."""
        if self._operations.fleet.degraded:
            return []
        return instance_views.instances(self._operations.pool_states(), self._operations.drains())

    def _read_operations(self) -> list[Operation]:
        return [
            Operation("state", "GET", "/state", "The whole state: fleet, pools and backends",
                      lambda _: self.state(), models.StateView),
            Operation("fleet", "GET", "/fleet", "Instances, workers, versions, heartbeats",
                      lambda _: self.state().fleet, models.FleetView),
            Operation("pools", "GET", "/pools", "The pools with their backends",
                      lambda _: models.PoolList(pools=self.state().pools), models.PoolList),
            Operation("pool", "GET", "/pools/<pool>", "One pool", lambda _, pool: self._pool(pool), models.PoolView),
            Operation("backends", "GET", "/pools/<pool>/backends", "Backends of a pool",
                      lambda _, pool: models.BackendList(backends=self._pool(pool).backends), models.BackendList),
            Operation("backend", "GET", _BACKEND, "One backend, with the ETag for actions", self._backend,
                      models.BackendView),
            Operation("config", "GET", "/config", "The configuration in effect, secrets masked", self._config,
                      models.ConfigurationView),
            Operation("configOrigins", "GET", "/config/origins", "What is in effect for each pool, route and listener, "
                      "and which table sets it", self._config_origins, models.ConfigurationOrigins),
            Operation("publishedConfig", "GET", "/configurations/<version>", "A configuration that instances run by, "
                      "secrets masked", self._published_config, models.PublishedConfiguration, problems=(404, 503)),
            Operation("explain", "POST", "/explain", "Where a request would go, and why", self._explain,
                      models.ExplanationView, body=bodies.RequestToExplain),
            Operation("doctor", "GET", "/doctor", "Diagnosis with advice", self._doctor, models.Diagnosis,
                      problems=(503,)),
            Operation("openapi", "GET", "/openapi.json", "This document",
                      lambda _: Response(openapi.text(self.table()), mimetype="application/json"), None, role=None),
        ]  # fmt: skip

    def _session_operations(self) -> list[Operation]:
        return [
            Operation("whoAmI", "GET", "/session", "The authenticated client",
                      lambda call: models.SessionView.model_validate(call.principal), models.SessionView),
            Operation("login", "POST", "/session", "Open a session for a browser", self._login, models.SessionView,
                      role=None, body=bodies.Login, problems=(401,)),
            Operation("logout", "DELETE", "/session", "Close the session", self._logout, None, role=None, status=204),
        ]  # fmt: skip

    def _backend_operations(self) -> list[Operation]:
        operations, act = self._operations, self._act
        return [
            act("drain", "POST", "/drain", "Send no new requests; requests in flight and sessions continue",
                lambda action, body: operations.set_mode(action, Mode.DRAINING, body.close_after), bodies.Drain),
            act("enable", "POST", "/enable", "Return to service, also after a removal",
                lambda action, _: operations.set_mode(action, Mode.SERVING)),
            act("off", "POST", "/off", "Send no requests at all; requests in flight finish",
                lambda action, body: operations.set_mode(action, Mode.OFF, body.close_after), bodies.Drain),
            act("uneject", "POST", "/uneject", "End the ejection", lambda action, _: operations.uneject(action)),
            act("weight", "PUT", "/weight", "Set the weight",
                lambda action, body: operations.set_weight(action, body.weight), bodies.NewWeight),
            act("remove", "DELETE", "", "Remove from the pool", lambda action, _: operations.remove(action),
                bodies.Withdrawal),
            Operation("add", "POST", "/pools/<pool>/backends", "Add to the pool", self._add, models.Done,
                      role=Role.OPERATOR, changes=True, body=bodies.NewBackend),
            Operation("reload", "POST", "/reload", "Reload the configuration, as SIGHUP does", self._reload_now,
                      models.ReloadView, role=Role.OPERATOR, body=bodies.Reasoned, body_optional=True,
                      problems=(422, 503), later=True),
        ]  # fmt: skip

    def _act(
        self,
        name: str,
        method: str,
        path: str,
        summary: str,
        change: Change,
        body: type[bodies.Reasoned] = bodies.Reasoned,
    ) -> Operation:
        """The operation that makes this change of a backend. `path` is below that of the backend."""

        def view(call: ApiCall, pool: str, backend: str) -> Response:
            reason, force = call.body.reason, getattr(call.body, "force", False)
            action = Action(name, pool, backend, call.principal.identity, call.etag, reason, force)
            return self._changed(call, action, change)

        return Operation(name, method, _BACKEND + path, summary, view, models.Done, role=Role.OPERATOR, changes=True,
                         body=body, body_optional=body is not bodies.NewWeight)  # fmt: skip

    def _add(self, call: ApiCall, pool: str) -> Response:
        backend = _backend_of(call.body)
        action = Action("add", pool, backend.id, call.principal.identity, call.etag, call.body.reason)
        return self._changed(call, action, lambda action, _: self._operations.add(action, backend))

    @staticmethod
    def _changed(call: ApiCall, action: Action, change: Change) -> Response:
        pool_state, changed = change(action, call.body)
        response = json_response(models.Done(changed=changed, backend=views.backend_view(pool_state, action.backend)))
        response.set_etag(etag_of(pool_state.snapshot.overrides.get(action.backend)))
        return response

    def _reload_now(self, call: ApiCall) -> Response:
        try:
            outcome = self._reload()
        except ReloadUnavailable as error:
            raise Refused(503, str(error)) from None
        if outcome.refused:
            raise Refused(422, outcome.refused)
        view = models.ReloadView(
            config_version=outcome.version,
            in_place=outcome.in_place,
            by_new_workers=outcome.by_new_workers,
            warnings=outcome.warnings,
        )
        changed = (*outcome.in_place, *outcome.by_new_workers)
        detail = ", ".join(changed) or "nothing has changed"
        self._operations.record_reload(detail, call.principal.identity, call.body.reason)
        return json_response(view, 202 if outcome.by_new_workers else 200)

    def _pool(self, pool: str) -> models.PoolView:
        return views.pool_view(self._operations.pool_state(pool))

    def _backend(self, _: ApiCall, pool: str, backend: str) -> Response:
        view = views.backend_view(self._operations.pool_state(pool), backend)
        if view is None:
            raise Refused(404, f"the pool {pool!r} has no backend {backend!r}")
        response = json_response(view)
        response.set_etag(view.etag)
        return response

    def _config(self, _: ApiCall) -> models.ConfigurationView:
        config = self._operations.running.config
        return models.ConfigurationView(version=version(config), instance=self._instance, settings=effective(config))

    def _config_origins(self, _: ApiCall) -> models.ConfigurationOrigins:
        config = self._operations.running.config
        shown = [models.EffectiveSettings.model_validate(one) for one in explained(config)]
        return models.ConfigurationOrigins(version=version(config), instance=self._instance, explanations=shown)

    def _published_config(self, _: ApiCall, version: str) -> models.PublishedConfiguration:
        settings = self._operations.store.read_configuration(version)
        if settings is None:
            raise Refused(404, f"no instance has published a configuration {version!r} in the last minutes")
        return models.PublishedConfiguration(version=version, settings=dict(settings))

    def _explain(self, call: ApiCall) -> models.ExplanationView:
        query = call.body
        try:
            request = parse_query(query.method, query.url, query.headers, query.client, query.listener)
            explanation = self._operations.explain(request)
        except ValueError as error:
            raise Refused(422, str(error)) from None
        return models.ExplanationView.model_validate(explanation)

    def _doctor(self, _: ApiCall) -> models.Diagnosis:
        pool_states = self._operations.pool_states()
        first_checks = self._operations.first_checks(pool_states)
        return diagnose(
            self.state(),
            self._operations.ping,
            _members(pool_states),
            self._reach,
            first_checks,
            self._command_facts(self._operations.store_memory()),
            self._certificates(certificate_files(self._operations.running.config)),
        )

    def _command_facts(self, memory: StoreMemory | None) -> CommandFacts:
        running = self._operations.running
        config = running.config
        limits = [section.to_model(name) for name, section in config.rate_limits.items()]
        rates = {limit.name: limit.count / limit.period for limit in limits}
        return CommandFacts(store_command(store_url(config)), rates, memory, running.auth_troubles())

    def _certificates(self, on_disk: Sequence[CertificateFile]) -> CertificateFacts:
        running = self._operations.running
        acme = running.config.tls.acme
        return CertificateFacts(
            running.certificates,
            on_disk,
            self._certificate_expiry,
            time.time(),
            running.automatic,
            acme.domains,
            acme.demand,
        )

    def _login(self, call: ApiCall) -> Response:
        cookie, principal = self._authenticator.open_session(
            call.body.token.strip(), call.request.remote_addr or "unix"
        )
        response = json_response(models.SessionView.model_validate(principal))
        response.set_cookie(COOKIE, cookie, max_age=int(SESSION_LIFETIME), **_cookie_scope(call.request))
        return response

    def _logout(self, call: ApiCall) -> Response:
        response = Response(status=204)
        response.delete_cookie(COOKIE, **_cookie_scope(call.request))
        return response


def _members(pool_states: Sequence[PoolState]) -> dict[str, Sequence[Backend]]:
    """The backends of each pool."""
    return {pool_state.pool.name: members(pool_state.pool, pool_state.snapshot) for pool_state in pool_states}


def _cookie_scope(request: Request) -> dict[str, Any]:
    """The attributes of the session cookie."""
    return {"path": openapi.PREFIX, "secure": request.is_secure, "httponly": True, "samesite": "Strict"}


def _backend_of(body: bodies.NewBackend) -> Backend:
    """The backend as a value of the core. Raises Refused."""
    try:
        return ConfiguredBackend.model_validate(body.model_dump(exclude={"reason"})).to_model()
    except ValidationError as error:
        raise Refused(422, error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def openapi_text() -> str:
    """The OpenAPI document of all operations; needs no fleet."""
    unused: Any = None
    return openapi.text(AdminApi(unused, unused, "", unused, unused).table())
