"""Findings about what clients get: errors that are a large share of the answers, with the remedy for their cause."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import MappingProxyType

from lbflask.control.api.models import AnswersView, CauseView, Finding
from lbflask.control.doctor.findings import CommandFacts, bad, good, warning
from lbflask.core.answers import AnswerCause
from lbflask.core.rate_limit import MOST_TOKENS

#: Share of all answers from which on a cause is named, and from which on it is bad.
LEAST_SHARE, BAD_SHARE = 0.05, 0.5
#: The same for what backends answer to requests that they do not accept: clients make mistakes.
LEAST_CLIENT_SHARE, _CLIENT_ERRORS = 0.3, "4xx"
_SERVER_ERROR = "5"
#: Errors per second below which a share proves nothing; and below which not even errors of servers that are half of all
#: answers do: some three in the ten seconds of the figures.
LEAST_RATE, LEAST_FAILING_RATE = 0.5, 0.25

#: What helps, by cause. `{name}` is the limit of `rate_limit`, else the pool. Causes without an entry follow from what
#: other findings name (no backend, a shortage), or are the clients' own (an invalid request, a refusal by a hook).
_REMEDIES = MappingProxyType(
    {
        AnswerCause.BACKEND: (
            "the backends respond so: their logs have the reason, such as a release or a wrong path; "
            "`lbflask backends` shows which of them fail most"
        ),
        AnswerCause.RATE_LIMIT: (
            "lines with `limit={name}` of the access log have the clients; if the limit is too low, "
            "`rate_limits.{name}.rate = {rate}` in the configuration and `lbflask reload`"
        ),
        AnswerCause.QUEUE_FULL: (
            "all `max_connections` of pool {name} are in use: add a backend (`lbflask add URL`), or raise "
            "`max_connections` if the backends have room, then `lbflask reload`"
        ),
        AnswerCause.QUEUE_TIMEOUT: (
            "all `max_connections` of pool {name} stay in use: add a backend (`lbflask add URL`), or raise "
            "`max_connections` if the backends have room, then `lbflask reload`"
        ),
        AnswerCause.TIMEOUT: (
            "`lbflask backends` shows which backend is slow; `lbflask off NAME` spares clients meanwhile"
        ),
        AnswerCause.CONNECTION_FAILED: (
            "findings about backends name those; else `fault` in the access log has the reason"
        ),
        AnswerCause.BACKEND_FAILED: (
            "`fault` in the access log has backend and reason; `lbflask off NAME` spares clients meanwhile"
        ),
        AnswerCause.CLIENT_LEFT: (
            "clients give up before they have the answer: `lbflask backends` shows which backend is slow"
        ),
        AnswerCause.CLIENT_SLOW: (
            "heads or bodies arrive too slowly: lines with `cause=client_slow` of the access log have the clients"
        ),
        AnswerCause.NO_ROUTE: (
            "lines with `cause=no_route` of the access log have the targets; `lbflask explain URL` shows the routes"
        ),
        AnswerCause.ACCESS: (
            "lines with `cause=access` of the access log have the clients; behind another proxy, `trusted_proxies` "
            "must name it"
        ),
        AnswerCause.AUTH: (
            "lines with `cause=auth` of the access log have the clients and the reason: no credentials, or wrong ones"
        ),
        AnswerCause.AUTH_UNAVAILABLE: (
            "credentials can't be checked: lines with `cause=auth_unavailable` of the access log have the reason, such "
            "as an authentication service that is down"
        ),
        AnswerCause.BAN: "`lbflask bans` lists the banned addresses; `lbflask unban ADDRESS` ends a ban",
        AnswerCause.CLIENT_LIMIT: (
            "lines with `cause=client_limit` of the access log have the clients; if honest ones are among them, raise "
            "`limits.per_client`"
        ),
        AnswerCause.TUNNELS: "as many tunnels as `limits.tunnels` allows are open: raise it, or add workers",
        AnswerCause.INTERNAL: "an error of the balancer; the error log has the reason",
    }
)


def answer_findings(answers: AnswersView | None, facts: CommandFacts, held_back: str = "") -> Iterator[Finding]:
    """One for each cause of errors with a large share of the answers, the most frequent first; none without answers.
    `held_back` is the client to which a rate limit rightly refuses requests, if there is one.
    """
    if answers is None or not answers.per_second:
        return
    for one in (*answers.causes, _refused_by_backends(answers)):
        share, remedy = one.per_second / answers.per_second, _remedy(one, facts)
        least = LEAST_CLIENT_SHARE if one.status == _CLIENT_ERRORS else LEAST_SHARE
        is_failing = share >= BAD_SHARE and one.status.startswith(_SERVER_ERROR)
        if not remedy or share < least or one.per_second < (LEAST_FAILING_RATE if is_failing else LEAST_RATE):
            continue
        text = f"{_text(one)}: {one.per_second:.1f}/s, {share:.0%} of the answers"
        if held_back and one.cause == AnswerCause.RATE_LIMIT:
            yield good("answers", f"{text}; nearly all go to {held_back}, which asks most")
            continue
        yield (bad if share >= BAD_SHARE else warning)("answers", text, remedy)


def _refused_by_backends(answers: AnswersView) -> CauseView:
    """The errors of clients by the judgement of backends, such as 404: usual, unless they are a large share."""
    local = sum(one.per_second for one in answers.causes if one.status.startswith(_CLIENT_ERRORS[0]))
    rate = max(0.0, answers.by_class.get(_CLIENT_ERRORS, 0.0) - local)
    return CauseView(status=_CLIENT_ERRORS, cause=AnswerCause.BACKEND, name="", per_second=round(rate, 2))


def _text(view: CauseView) -> str:
    what = f"clients get {view.status}, {view.cause.replace('_', ' ')}"
    return f"{what} {view.name}" if view.name else what


def _remedy(view: CauseView, facts: CommandFacts) -> str:
    """Empty for a cause of a later version, too."""
    allowed = facts.rates.get(view.name, 0.0)
    rate = min(MOST_TOKENS, math.ceil(max(2 * allowed, allowed + 2 * view.per_second)))
    try:
        return _REMEDIES.get(AnswerCause(view.cause), "").format(name=view.name or "…", rate=rate)
    except ValueError:
        return ""
