"""Names of header fields in which proxies state the client, its certificate and the URL of a request. Only trusted
proxies may.
"""

from __future__ import annotations

import re

#: Fields that each request to a backend has from us, or Forwarded (RFC 7239), which it may have.
WRITTEN = frozenset(
    {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-real-ip", "forwarded"}
)
#: Beside X-Forwarded-*: other names for the client's address, and for the URL before a proxy rewrote it. Libraries and
#: frameworks read them from any peer.
_ADDRESSES = frozenset(
    {"forwarded-for", "x-real-ip", "client-ip", "x-client-ip", "x-cluster-client-ip"}
    | {"true-client-ip", "cf-connecting-ip", "cf-connecting-ipv6", "fastly-client-ip", "x-original-for"}
)
_OTHERS = _ADDRESSES | frozenset(
    {"forwarded", "x-forwarded", "x-original-host", "x-original-proto", "x-original-url", "x-rewrite-url"}
    | {"client-cert", "client-cert-chain"}  # RFC 9440 §2.4
)
_PREFIX = "x-forwarded-"
#: Characters of a name that decide: more than the longest of the others has.
_LONGEST = 32
_NO_LETTER = re.compile(r"[^a-z0-9]")


def is_claim(name: str) -> bool:
    """Whether a field of this name, in any case, states the client or the URL."""
    lower = name.lower()
    return lower.startswith(_PREFIX) or lower in _OTHERS


def states_address(name: str) -> bool:
    """Whether a field of this name, in any case, states one address, or several with commas between."""
    return name.lower() in _ADDRESSES


def is_disguised_claim(name: str) -> bool:
    """Whether the name is no claim, but becomes one as a CGI variable: servers replace other signs than `-` too."""
    begin = name[:_LONGEST].lower()
    folded = _NO_LETTER.sub("-", begin)
    return folded != begin and is_claim(folded)
