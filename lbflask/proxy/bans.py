"""Bans of clients: the check that refuses them, and the count of the answers that lead to them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from lbflask.core.answers import AnswerCause
from lbflask.core.bans import Ban, BanRule
from lbflask.core.faults import Fault, NotAdmitted
from lbflask.core.http.addresses import parsed_address
from lbflask.core.http.request_origin import RequestOrigin
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.client_response import ClientResponse
from lbflask.proxy.router import RootHandler
from lbflask.proxy.services import HopCache


class BanCheck:
    """Refuses the requests of clients for which `find` returns a ban (`proxy.admission.AdmissionCheck`), without those
    by the rules that it gets besides. Each of the rules bans networks, but not the addresses in them that are exempt.
    """

    def __init__(self, find: Callable[[str, Collection[str]], Ban | None], rules: Sequence[BanRule] = ()) -> None:
        self._find = find
        self._rules = tuple(rules)

    def __repr__(self) -> str:
        return "BanCheck()"

    def admit(self, request: ClientRequest, origin: RequestOrigin) -> ClientRequest:
        """As of AdmissionCheck."""
        client = origin.client
        ban = self._find(client, ())
        if ban is not None and ban.rule:
            ban = self._find(client, [rule.name for rule in self._rules if rule.exempt.admits(client)])
        if ban is None:
            return request
        log_reason = f"{ban.network} is banned by {ban.giver}"
        raise NotAdmitted(403, "requests from this address are not allowed", AnswerCause.BAN, log_reason=log_reason)


class OffenceCounter:
    """Passes requests to `inner`, and calls `count` for each answer that a rule is about, before the client gets it.

    So an attacker gets no answer that is not counted. Answers with other statuses cost nothing.
    """

    def __init__(
        self, inner: RootHandler, rules: Sequence[BanRule], hops: HopCache, count: Callable[[BanRule, str], None]
    ) -> None:
        self._inner = inner
        self._rules = tuple(rules)
        self._statuses = frozenset(str(status) for rule in rules for status in rule.statuses)
        self._hops = hops
        self._count = count

    def __repr__(self) -> str:
        return f"OffenceCounter({', '.join(rule.name for rule in self._rules)}, {self._inner!r})"

    def dispatch(self, request: ClientRequest) -> ClientResponse | None:
        """As of Handler."""
        response = self._inner.dispatch(request)
        if response is not None and response.status[:3] in self._statuses:
            self._note(request, int(response.status[:3]))
        return response

    def refuse(self, fault: Fault, method: str, target: str, protocol: str, peer: str, accept: str) -> ClientResponse:
        """As of RootHandler."""
        return self._inner.refuse(fault, method, target, protocol, peer, accept)

    def record_refusal(self, peer: str, status: int, reason: str, sent: int) -> None:
        """As of RootHandler."""
        self._inner.record_refusal(peer, status, reason, sent)

    def _note(self, request: ClientRequest, status: int) -> None:
        client = self._hops.origin(request).client
        if parsed_address(client) is None:
            return  # a client without an address cannot be banned
        for rule in self._rules:
            if status in rule.statuses and not rule.exempt.admits(client):
                self._count(rule, client)
