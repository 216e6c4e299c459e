"""Where a request stops by at hooks, if there are any."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.hook_api import HookRequest, Refusal
from lbflask.core.model import Backend
from lbflask.hooks.runner import Hooks
from lbflask.proxy.context import RequestContext
from lbflask.telemetry.debug import SWITCH, trace
from lbflask.upstream.requests_adapter import BackendRequest


@dataclass(frozen=True, slots=True)
class HookCalls:
    """Hooks that have seen a request, and how they have seen it at last."""

    hooks: Hooks
    request: HookRequest

    def order(self, exchange: RequestContext, plan: Iterable[Backend]) -> Iterable[Backend]:
        """The plan as hooks want it."""
        if not self.hooks.has_choice:
            return plan
        planned = {backend.id: backend for backend in plan}
        before = tuple(planned)
        after = self.hooks.choice(self.request, before)
        if after != before:
            exchange.why = "hook"
        return [planned[id_] for id_ in after]


def ask(hooks: Hooks, exchange: RequestContext, outgoing: BackendRequest, pool: str) -> HookCalls:
    """Let hooks change the request's fields. Raises the Fault of a refusal."""
    inbound = exchange.inbound
    request = HookRequest(
        exchange.request_id,
        exchange.client,
        inbound.method,
        inbound.target.text,
        inbound.host,
        pool,
        tuple(outgoing.fields),
    )
    for answer in hooks.request(request):
        if SWITCH.enabled:
            trace(exchange.request_id, "hook", result=type(answer).__name__)
        if isinstance(answer, Refusal):
            # Told to the client as it is, and so blamed on it: no backend is.
            raise Fault(Blame.CLIENT, Stage.CHOOSE, answer.status, answer.reason)
        outgoing.fields = answer.applied_to(outgoing.fields)
        request = replace(request, fields=tuple(outgoing.fields))
    return HookCalls(hooks, request)
