"""Answers that come from no backend: refusals, fixed answers and redirections, told like all others when they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.addresses import plain_address
from lbflask.core.http.direct_response import DirectResponse, Redirect
from lbflask.core.http.fields import Fields, backend_request, credible_fields
from lbflask.core.http.header_edits import Edits
from lbflask.core.http.paths import with_prefix
from lbflask.core.http.reason_phrases import reason_phrase
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.client_response import ClientResponse, own_reply, refusal
from lbflask.proxy.context import ProxySettings, SharedServices
from lbflask.telemetry.debug import SWITCH, trace
from lbflask.telemetry.events import AttemptEvent, RequestEvent

NO_ATTEMPTS: Sequence[AttemptEvent] = ()


class LocalReplies:
    """What we say by ourselves, on behalf of a pool, of a route, or of neither."""

    def __init__(
        self,
        house: SharedServices,
        rules: ProxySettings,
        *,
        pool: str = "",
        route: str = "",
        edits: Edits | None = None,
    ) -> None:
        self._house = house
        self._rules = rules
        self._pool = pool
        self._route = route
        self._edits = edits

    def refuse(self, fault: Fault, method: str, target: str, protocol: str, peer: str, accept: str) -> ClientResponse:
        """The reply to a request that could not even be read."""
        status, fields, body = refusal(fault, accept, None, self._rules.via, self._rules.pages)
        about = (plain_address(peer), method, target, protocol)
        ended = self._teller(about, fault.status, "-", fault.reason)
        return own_reply(method, status, fields, body, ended)

    def credible(self, inbound: ClientRequest) -> Fields:
        """The fields of the request without what a stranger states of others."""
        return credible_fields(inbound.fields, self._house.hops.of(inbound))

    def record_refusal(self, peer: str, status: int, reason: str, sent: int) -> None:
        """The host has refused a request that it could not read, by an answer of so many bytes."""
        self._teller((plain_address(peer), "-", "-", "-"), status, "-", reason)(sent, "", None)

    def turn_away(self, inbound: ClientRequest, fault: Fault) -> ClientResponse:
        """The reply to a request that was read, and goes nowhere."""
        accept = next((value for name, value in inbound.fields if name.lower() == "accept"), "")
        status, fields, body = refusal(fault, accept, None, self._rules.via, self._rules.pages)
        return self.say(inbound, fault.status, status, fields, body, fault.reason)

    def say(
        self, inbound: ClientRequest, code: int, status: str, fields: Fields, body: bytes, why: str = ""
    ) -> ClientResponse:
        """The reply with this status line, these fields and this body."""
        house, rules = self._house, self._rules
        # For nobody but the log: who asked, and by which name the request goes.
        head = backend_request(
            inbound.fields,
            house.hops.of(inbound),
            host=inbound.host,
            request_id=house.new_request_id(),
            is_trusted=rules.is_trusted,
        )
        about = (head.client, inbound.method, inbound.raw_target, inbound.protocol)
        if self._edits is not None:
            fields = self._edits.of(fields)
        return own_reply(inbound.method, status, fields, body, self._teller(about, code, head.request_id, why))

    def _teller(
        self, about: tuple[str, str, str, str], status: int, request_id: str, why: str
    ) -> Callable[[int, str, Fault | None], None]:
        house = self._house
        client, method, target, protocol = about
        began = house.clock()

        def ended(sent: int, cut: str, _: Fault | None) -> None:
            seconds = house.clock() - began
            if SWITCH.enabled:
                trace(request_id, "parsed", client=client, method=method, target=target, protocol=protocol)
                trace(request_id, "routed", route=self._route, pool=self._pool)
                trace(request_id, "finished", status=status, sent=sent, seconds=seconds, cut=cut or why)
            event = RequestEvent(
                client=client,
                method=method,
                target=target,
                protocol=protocol,
                pool=self._pool,
                status=status,
                sent=sent,
                seconds=seconds,
                attempts=NO_ATTEMPTS,
                request_id=request_id,
                cut=cut or why,
                route=self._route,
            )
            for listener in house.listeners:
                listener(event)

        return ended


class DirectResponseRoute:
    """A route whose requests no backend sees."""

    def __init__(
        self, own: DirectResponse | Redirect, answers: LocalReplies, via: str | None, segments: int, prefix: str | None
    ) -> None:
        self._own = own
        self._answers = answers
        self._via: Fields = [] if via is None else [("Via", "1.1 " + via)]
        self._segments = segments
        self._prefix = prefix
        self._needs_host = isinstance(own, Redirect) and "{host}" in own.to

    def dispatch(self, inbound: ClientRequest) -> ClientResponse:
        """The answer to the request."""
        if self._needs_host and not inbound.host:
            return self._answers.turn_away(inbound, Fault(Blame.CLIENT, Stage.CHOOSE, 400, "the Host is missing"))
        target = inbound.target.text
        if self._prefix is not None:
            target = with_prefix(target, self._segments, self._prefix)
        fields, body = self._own.parts(inbound.host, target)
        status = f"{self._own.status} {reason_phrase(self._own.status)}"
        return self._answers.say(inbound, self._own.status, status, fields + self._via, body)
