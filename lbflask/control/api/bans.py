"""The operations of the API on bans: list them, ban a network, and end its ban."""

from __future__ import annotations

from lbflask.control.api.ban_models import BanDone, BansView
from lbflask.control.api.bodies import BannedNetwork, NetworkToBan
from lbflask.control.api.operation import ApiCall, Operation
from lbflask.control.api.problems import Refused
from lbflask.control.ban_views import ban_view
from lbflask.control.operations import Operations
from lbflask.core.admin_tokens import Role
from lbflask.core.bans import banned_network


def ban_operations(operations: Operations) -> list[Operation]:
    """The operations."""

    def found() -> BansView:
        return BansView(bans=tuple(map(ban_view, operations.bans())), at=operations.fleet.now())

    def done(call: ApiCall, seconds: int) -> BanDone:
        try:
            network = banned_network(call.body.network)
        except ValueError as error:
            raise Refused(422, f"network: {error}") from None
        changed = operations.ban(network, seconds, call.principal.identity, call.body.reason)
        return BanDone(changed=changed, network=network, until=operations.fleet.now() + seconds if seconds else 0.0)

    return [
        Operation("bans", "GET", "/bans", "The banned addresses and networks", lambda _: found(), BansView),
        Operation("ban", "POST", "/bans", "Refuse the requests of an address or a network, at all instances",
                  lambda call: done(call, call.body.seconds), BanDone, role=Role.OPERATOR, body=NetworkToBan,
                  problems=(503,)),
        Operation("unban", "POST", "/bans/end", "End a ban", lambda call: done(call, 0), BanDone, role=Role.OPERATOR,
                  body=BannedNetwork, problems=(503,)),
    ]  # fmt: skip
