"""Protocol upgrades (RFC 9110 §7.8): the offer to the backend on behalf of a client, and its acceptance.

After a 101 the bytes are passed on unseen. So nothing is offered by which a client could talk HTTP to the backend
behind our back, where none of our rules would hold (request smuggling): neither HTTP of any version nor TLS.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lbflask.core.http.field_names import TCHAR, members
from lbflask.core.http.types import Fields

#: protocol-name ["/" protocol-version], both tokens.
_PROTOCOL = re.compile(rf"({TCHAR}+)(?:/{TCHAR}+)?")
_NEVER = frozenset({"h2c", "h2", "h3", "http", "tls"})


def requested_upgrade(fields: Fields, protocol_version: str) -> str:
    """The Upgrade value to offer the backend; empty when there is nothing to ask for.

    The request must be HTTP/1.1 (§7.8: in HTTP/1.0 the field is ignored), Connection must nominate `upgrade`, and
    Upgrade must name a protocol that may be passed on.
    """
    if protocol_version != "HTTP/1.1" or "upgrade" not in map(str.lower, _members_of(fields, "connection")):
        return ""
    return ", ".join(offer for offer in _members_of(fields, "upgrade") if _may_pass(offer))


def _members_of(fields: Fields, wanted: str) -> Iterator[str]:
    return members(value for name, value in fields if name.lower() == wanted)


def _may_pass(offer: str) -> bool:
    protocol = _PROTOCOL.fullmatch(offer)
    return protocol is not None and protocol[1].lower() not in _NEVER


def accepted_upgrade(fields: Fields, requested: str) -> bool:
    """Whether the fields of a 101 name a protocol, and none that was not asked for.

    `requested` is the Upgrade value that the backend got. Names are compared in any case.
    """
    asked = {offer.lower() for offer in members([requested])}
    granted = {offer.lower() for offer in _members_of(fields, "upgrade")}
    return bool(granted) and granted <= asked


def with_upgrade(fields: Fields, upgrade: str) -> Fields:
    """The fields of a message that crosses this hop, with Upgrade and the Connection option that it needs.

    The options that stand there already are kept in the same line: not all receivers look for a second one.
    """
    options = [*_members_of(fields, "connection"), "Upgrade"]
    kept = [field for field in fields if field[0].lower() != "connection"]
    return [*kept, ("Connection", ", ".join(options)), ("Upgrade", upgrade)]
