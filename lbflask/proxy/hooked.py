"""Where a request stops by at hooks, if there are any."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.hooks import HookRequest, Refusal
from lbflask.core.model import Backend
from lbflask.proxy.exchange import Exchange
from lbflask.telemetry.hooks import Hooks
from lbflask.upstream.session import BackendRequest


def request(hooks: Hooks, exchange: Exchange, outgoing: BackendRequest, pool: str) -> HookRequest:
    """Let hooks change the request's fields; what they have been told of it. Raises the Fault of a refusal."""
    inbound = exchange.inbound
    asked = HookRequest(
        exchange.request_id,
        exchange.client,
        inbound.method,
        inbound.target.text,
        inbound.host,
        pool,
        tuple(outgoing.fields),
    )
    for answer in hooks.request(asked):
        if isinstance(answer, Refusal):
            # Told to the client as it is, and so blamed on it: no backend is.
            raise Fault(Blame.CLIENT, Stage.CHOOSE, answer.status, answer.reason)
        outgoing.fields = answer.applied_to(outgoing.fields)
        asked = replace(asked, fields=tuple(outgoing.fields))
    return asked


def order(hooks: Hooks, exchange: Exchange, asked: HookRequest, plan: Iterable[Backend]) -> Iterable[Backend]:
    """The plan as hooks want it."""
    if not hooks.choose:
        return plan
    planned = {backend.id: backend for backend in plan}
    before = tuple(planned)
    after = hooks.choice(asked, before)
    if after != before:
        exchange.why = "hook"
    return [planned[id_] for id_ in after]
