"""The operations of the API: each is a row of the table and a short method."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Response
from pydantic import ValidationError

from lbflask.config.backends import BackendConfig as ConfiguredBackend
from lbflask.config.render import effective, version
from lbflask.control import views
from lbflask.control.api import openapi
from lbflask.control.api.debug import DebugOperations
from lbflask.control.api.models import (
    BackendList,
    BackendView,
    ConfigurationView,
    Diagnosis,
    Done,
    EventPage,
    EventQuery,
    ExplanationView,
    FleetView,
    Login,
    NewBackend,
    NewWeight,
    PoolList,
    PoolView,
    ReloadView,
    RequestToExplain,
    SessionView,
    StateView,
)
from lbflask.control.api.operation import ApiCall, Operation
from lbflask.control.api.problems import Refused
from lbflask.control.api.sse import EventStreams
from lbflask.control.auth import COOKIE, SESSION_LIFETIME, Authenticator
from lbflask.control.doctor import Reach, diagnose
from lbflask.control.explain import parse_query
from lbflask.control.operations import Action, Operations, PoolState, etag_of
from lbflask.core.admin_tokens import Role
from lbflask.core.membership import members
from lbflask.core.model import Backend, Mode
from lbflask.core.reload import ReloadOutcome, ReloadUnavailable
from lbflask.telemetry.debug import SWITCH, DebugSwitch

_BACKEND = "/pools/<pool>/backends/<backend>"
_EVENT_STREAM = "text/event-stream"


class AdminApi:
    """The views. `instance` names the gunicorn that answers; `reload` reloads its configuration or raises
    ReloadUnavailable.
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
    ) -> None:
        self._operations = operations
        self._reload = reload
        self._authenticator = authenticator
        self._instance = instance
        self._reach = reach
        self._debug = DebugOperations(debug, operations, instance)
        self.streams = EventStreams(operations, self.state, stopping)

    def __repr__(self) -> str:
        return f"<AdminApi of {self._instance}: {self._operations!r}>"

    def table(self) -> list[Operation]:
        """All operations."""
        return [
            *self._read_operations(),
            *self._event_operations(),
            *self._session_operations(),
            *self._backend_operations(),
            *self._debug.table(),
        ]

    def state(self) -> StateView:
        """The current state of the fleet."""
        operations = self._operations
        return views.state(
            operations.pool_states(), degraded=operations.degraded, why=operations.why, answered_by=self._instance
        )

    def _read_operations(self) -> list[Operation]:
        return [
            Operation("state", "GET", "/state", "The whole state: fleet, pools and backends", self._state, StateView),
            Operation("fleet", "GET", "/fleet", "Instances, workers, versions, heartbeats", self._fleet, FleetView),
            Operation("pools", "GET", "/pools", "The pools with their backends", self._pools, PoolList),
            Operation("pool", "GET", "/pools/<pool>", "One pool", self._pool, PoolView),
            Operation("backends", "GET", "/pools/<pool>/backends", "Backends of a pool", self._backends, BackendList),
            Operation("backend", "GET", _BACKEND, "One backend, with the ETag for actions", self._backend, BackendView),
            Operation("config", "GET", "/config", "The configuration in effect, secrets masked", self._config,
                      ConfigurationView),
            Operation("explain", "POST", "/explain", "Where a request would go, and why", self._explain,
                      ExplanationView, body=RequestToExplain),
            Operation("doctor", "GET", "/doctor", "Diagnosis with advice", self._doctor, Diagnosis,
                      problems=(503,)),
            Operation("openapi", "GET", "/openapi.json", "This document", self._openapi, None, role=None),
        ]  # fmt: skip

    def _event_operations(self) -> list[Operation]:
        return [
            Operation("events", "GET", "/events", "Events, latest first", self._page, EventPage,
                      query=EventQuery, problems=(503,)),
            Operation("eventStream", "GET", "/events/stream", "New events, as server-sent events", self._event_stream,
                      None, media_type=_EVENT_STREAM, problems=(503,)),
            Operation("stream", "GET", "/stream", "State and new events, as server-sent events", self._stream,
                      None, media_type=_EVENT_STREAM, problems=(503,)),
        ]  # fmt: skip

    def _session_operations(self) -> list[Operation]:
        return [
            Operation("whoAmI", "GET", "/session", "The authenticated client", self._session, SessionView),
            Operation("login", "POST", "/session", "Open a session for a browser", self._login, SessionView, role=None,
                      body=Login, problems=(401,)),
            Operation("logout", "DELETE", "/session", "Close the session", self._logout, None, role=None, status=204),
        ]  # fmt: skip

    def _backend_operations(self) -> list[Operation]:
        act = partial(Operation, answer=Done, role=Role.OPERATOR, changes=True)
        return [
            act("drain", "POST", f"{_BACKEND}/drain", "Send no new requests; requests in flight and sessions continue",
                partial(self._mode, "drain", Mode.DRAINING)),
            act("enable", "POST", f"{_BACKEND}/enable", "Return to service, also after a removal",
                partial(self._mode, "enable", Mode.SERVING)),
            act("off", "POST", f"{_BACKEND}/off", "Send no requests at all; requests in flight finish",
                partial(self._mode, "off", Mode.OFF)),
            act("uneject", "POST", f"{_BACKEND}/uneject", "End the ejection", self._uneject),
            act("weight", "PUT", f"{_BACKEND}/weight", "Set the weight", self._weight, body=NewWeight),
            act("remove", "DELETE", _BACKEND, "Remove from the pool", self._remove),
            act("add", "POST", "/pools/<pool>/backends", "Add to the pool", self._add, body=NewBackend),
            Operation("reload", "POST", "/reload", "Reload the configuration, as SIGHUP does", self._reload_now,
                      ReloadView, role=Role.OPERATOR, problems=(422, 503), later=True),
        ]  # fmt: skip

    def _reload_now(self, call: ApiCall) -> Response:
        try:
            outcome = self._reload()
        except ReloadUnavailable as error:
            raise Refused(503, str(error)) from None
        if outcome.refused:
            raise Refused(422, outcome.refused)
        view = ReloadView(
            config_version=outcome.version,
            in_place=list(outcome.in_place),
            by_new_workers=list(outcome.by_new_workers),
        )
        changed = (*outcome.in_place, *outcome.by_new_workers)
        self._operations.record_reload(", ".join(changed) or "nothing has changed", call.principal.identity)
        status = 202 if outcome.by_new_workers else 200
        return Response(view.model_dump_json(), status, mimetype="application/json")

    def _state(self, _: ApiCall) -> StateView:
        return self.state()

    def _fleet(self, _: ApiCall) -> FleetView:
        return self.state().fleet

    def _pools(self, _: ApiCall) -> PoolList:
        return PoolList(pools=[views.pool_view(pool_state) for pool_state in self._operations.pool_states()])

    def _pool(self, _: ApiCall, pool: str) -> PoolView:
        return views.pool_view(self._operations.pool_state(pool))

    def _backends(self, _: ApiCall, pool: str) -> BackendList:
        return BackendList(backends=views.pool_view(self._operations.pool_state(pool)).backends)

    def _backend(self, _: ApiCall, pool: str, backend: str) -> Response:
        view = views.backend_view(self._operations.pool_state(pool), backend)
        if view is None:
            raise Refused(404, f"the pool {pool!r} has no backend {backend!r}")
        response = Response(view.model_dump_json(), mimetype="application/json")
        response.set_etag(view.etag)
        return response

    def _config(self, _: ApiCall) -> ConfigurationView:
        config = self._operations.running.config
        return ConfigurationView(version=version(config), instance=self._instance, settings=effective(config))

    def _explain(self, call: ApiCall) -> ExplanationView:
        query = call.body
        try:
            request = parse_query(query.method, query.url, query.headers, query.client)
        except ValueError as error:
            raise Refused(422, str(error)) from None
        return ExplanationView.model_validate(self._operations.explain(request))

    def _doctor(self, _: ApiCall) -> Diagnosis:
        pool_states = self._operations.pool_states()
        backends = {pool_state.pool.name: members(pool_state.pool, pool_state.snapshot) for pool_state in pool_states}
        first_checks = self._operations.first_checks(pool_states)
        return diagnose(self.state(), self._operations.ping, backends, self._reach, first_checks)

    def _openapi(self, _: ApiCall) -> Response:
        return Response(openapi.text(self.table()), mimetype="application/json")

    def _page(self, call: ApiCall) -> EventPage:
        events = self._operations.events(call.query.limit, call.query.before)
        more = events[-1].id if len(events) == call.query.limit else None
        return EventPage(events=[views.event_view(event) for event in events], before=more)

    def _event_stream(self, call: ApiCall) -> Response:
        return self.streams.response(call.request, with_state=False)

    def _stream(self, call: ApiCall) -> Response:
        return self.streams.response(call.request, with_state=True)

    def _session(self, call: ApiCall) -> SessionView:
        return SessionView(name=call.principal.name, role=call.principal.role, csrf=call.principal.csrf)

    def _login(self, call: ApiCall) -> Response:
        cookie, principal = self._authenticator.open_session(
            call.body.token.strip(), call.request.remote_addr or "unix"
        )
        view = SessionView(name=principal.name, role=principal.role, csrf=principal.csrf)
        response = Response(view.model_dump_json(), mimetype="application/json")
        response.set_cookie(
            COOKIE, cookie, max_age=int(SESSION_LIFETIME), path=openapi.PREFIX, secure=call.request.is_secure,
            httponly=True, samesite="Strict",
        )  # fmt: skip
        return response

    def _logout(self, call: ApiCall) -> Response:
        response = Response(status=204)
        response.delete_cookie(
            COOKIE, path=openapi.PREFIX, secure=call.request.is_secure, httponly=True, samesite="Strict"
        )
        return response

    def _mode(self, action: str, mode: Mode, call: ApiCall, pool: str, backend: str) -> Response:
        return self._action_response(self._operations.set_mode(_action(call, action, pool, backend), mode), backend)

    def _uneject(self, call: ApiCall, pool: str, backend: str) -> Response:
        return self._action_response(self._operations.uneject(_action(call, "uneject", pool, backend)), backend)

    def _weight(self, call: ApiCall, pool: str, backend: str) -> Response:
        weight = call.body.weight
        return self._action_response(
            self._operations.set_weight(_action(call, "weight", pool, backend), weight), backend
        )

    def _remove(self, call: ApiCall, pool: str, backend: str) -> Response:
        return self._action_response(self._operations.remove(_action(call, "remove", pool, backend)), backend)

    def _add(self, call: ApiCall, pool: str) -> Response:
        backend = _backend_of(call.body)
        return self._action_response(self._operations.add(_action(call, "add", pool, backend.id), backend), backend.id)

    @staticmethod
    def _action_response(outcome: tuple[PoolState, bool], backend: str) -> Response:
        pool_state, changed = outcome
        view = views.backend_view(pool_state, backend)
        response = Response(Done(changed=changed, backend=view).model_dump_json(), mimetype="application/json")
        response.set_etag(etag_of(pool_state.snapshot.overrides.get(backend)))
        return response


def _action(call: ApiCall, action: str, pool: str, backend: str) -> Action:
    return Action(action, pool, backend, call.principal.identity, call.etag)


def _backend_of(body: NewBackend) -> Backend:
    """The backend as a value of the core. Raises Refused."""
    try:
        return ConfiguredBackend.model_validate(body.model_dump()).to_model()
    except ValidationError as error:
        raise Refused(422, error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def openapi_text() -> str:
    """The OpenAPI document of all operations; needs no fleet."""
    unused: Any = None
    return openapi.text(AdminApi(unused, unused, "", unused, unused).table())
