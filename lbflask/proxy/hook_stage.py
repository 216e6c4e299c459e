"""The hook stage of the request pipeline. It is skipped where no hooks are configured."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lbflask.core.answers import AnswerCause
from lbflask.core.faults import NotAdmitted
from lbflask.core.hook_api import HookRequest, HookResponse, Refusal
from lbflask.core.http.types import Fields
from lbflask.core.planning import Plan
from lbflask.hooks.runner import Hooks
from lbflask.proxy.client_request import ClientRequest
from lbflask.telemetry.debug import SWITCH, trace


@dataclass(frozen=True, slots=True)
class HookCalls:
    """A request after its `request` hooks, as they left it."""

    hooks: Hooks
    request: HookRequest

    @property
    def fields(self) -> Fields:
        """The fields for the backend."""
        return list(self.request.fields)

    def edit(self, status: int, fields: Fields) -> Fields:
        """The fields of the response as the `response_head` hooks change them."""
        if not self.hooks.has_response_head:
            return fields
        return list(self.hooks.response_head(self.request, HookResponse(status, tuple(fields))).fields)

    def reorder(self, plan: Plan) -> Plan:
        """The plan as the `choice` hooks change it."""
        if not self.hooks.has_choice:
            return plan
        backends = {backend.id: backend for backend in plan.backends}
        before = tuple(backends)
        after = self.hooks.choice(self.request, before)
        reason = plan.reason if after == before else "hook"
        return Plan(backends=[backends[id_] for id_ in after], reason=reason)


def call_request_hooks(
    hooks: Hooks, client_request: ClientRequest, request_id: str, client: str, pool: str, fields: Fields
) -> HookCalls:
    """Call the `request` hooks, each with the fields that the one before left. Raises NotAdmitted for a refusal."""
    request = HookRequest(
        request_id,
        client,
        client_request.method,
        client_request.target.text,
        client_request.host,
        pool,
        tuple(fields),
    )
    for result in hooks.request(request):
        if SWITCH.enabled:
            trace(request.request_id, "hook", result=type(result).__name__)
        if isinstance(result, Refusal):
            # Blamed on the client, so that it gets the reason unchanged; no backend is involved.
            raise NotAdmitted(result.status, result.reason, AnswerCause.HOOK, [*result.headers.items()])
        request = replace(request, fields=tuple(result.applied_to(list(request.fields))))
    return HookCalls(hooks, request)
