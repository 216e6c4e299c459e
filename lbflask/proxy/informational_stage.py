"""Responses with a status of 1xx: informational ones, and the tunnel after a 101."""

from __future__ import annotations

from lbflask.core.answers import AnswerCause
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.fields import bodiless_response
from lbflask.core.http.types import Fields
from lbflask.core.http.upgrade import requested_upgrade, with_upgrade
from lbflask.proxy.client_request import ClientRequest, ServerExchange
from lbflask.proxy.client_response import Finish
from lbflask.proxy.services import InFlight
from lbflask.upstream.backend_transport import BackendResponse
from lbflask.upstream.shortage import shortage
from lbflask.upstream.tunnel import Tunnel


def pass_interim(exchange: ServerExchange, via: str | None, status: int, reason: str, fields: Fields) -> None:
    """Pass on 103 Early Hints (RFC 8297) and nothing else: 102 only shows that the backend is alive (RFC 2518)."""
    if status != 103:
        return
    try:
        exchange.interim(f"103 {reason or 'Early Hints'}", bodiless_response(fields, via))
    except OSError:
        raise Fault(Blame.CLIENT, Stage.WAIT, 499, "the client hung up") from None


def upgrade_of(request: ClientRequest, most: int, in_flight: InFlight) -> str:
    """The protocols that the client would upgrade to; empty for none. Raises Fault if `most` tunnels are open."""
    upgrade = requested_upgrade(request.fields, request.protocol)
    tunnels = len(in_flight.tunnels)
    if upgrade and tunnels >= most:
        reason = f"{tunnels} tunnels are open, as many as may be"
        raise Fault(Blame.SELF, Stage.CHOOSE, 503, reason, answer_cause=AnswerCause.TUNNELS)
    return upgrade


def run_tunnel(
    exchange: ServerExchange,
    response: BackendResponse,
    fields: Fields,
    finish: Finish,
    *,
    idle_timeout: float,
    in_flight: InFlight,
    of: object,
) -> None:
    """Send the 101 with these fields and those of the upgrade, and pass bytes both ways until the tunnel ends.
    It is the tunnel `of` this request.
    """
    answer, cut = response.answer, ""
    fields = with_upgrade(fields, ", ".join([value for name, value in answer.fields if name.lower() == "upgrade"]))
    tunnel: Tunnel | None = None
    in_flight.tunnels[of] = None
    try:
        client, early = exchange.upgrade(f"101 {answer.reason or 'Switching Protocols'}", fields)
        tunnel = Tunnel(client, response.network_stream, idle_timeout)
        in_flight.tunnels[of] = tunnel
        tunnel.run(early, answer.early)
        cut = tunnel.cut
    except OSError as error:
        lack = shortage(error, Stage.BODY)
        cut = "the client hung up" if lack is None else lack.reason
    finally:
        del in_flight.tunnels[of]
        response.close()
        finish(tunnel.down if tunnel else 0, cut, None, None)
