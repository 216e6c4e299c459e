"""What one hop says of itself in a Forwarded field (RFC 7239)."""

from __future__ import annotations

import re
from ipaddress import ip_address

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def forwarded_element(peer: str, host: str, scheme: str) -> str:
    """The element for a request that came from `peer`, asking for `host` (empty: for none), by `scheme`.

    `peer` is an IP address; anything else, such as the other end of a unix socket, is `unknown` (§6.2). `by` is left
    out: it would tell backends nothing that they can't see.
    """
    pairs = [("for", _node(peer)), ("host", host), ("proto", scheme)]
    return ";".join(f"{name}={_quoted(value)}" for name, value in pairs if value)


def _node(peer: str) -> str:
    """§6: an IPv6 address stands in brackets, and without a zone, which means nothing elsewhere."""
    address = peer.partition("%")[0]
    try:
        return f"[{address}]" if ip_address(address).version == 6 else address
    except ValueError:
        return "unknown"


def _quoted(value: str) -> str:
    """§4: what is no token is a quoted string (RFC 9110 §5.6.4)."""
    if _TOKEN.fullmatch(value):
        return value
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
