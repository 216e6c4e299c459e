"""Which header fields cross the proxy, and which it writes itself. All other bytes pass unchanged and in order.

Fields are pairs of latin-1 strings, one pair a line received: a repeated field stays repeated (RFC 9110 §5.3).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, auto
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import NamedTuple

from lbflask.core.http.forwarded import forwarded_element
from lbflask.core.http.names import NameTable, members

Field = tuple[str, str]
Fields = list[Field]
IPNetwork = IPv4Network | IPv6Network

#: RFC 9110 §7.6.1 and §11.7, and Proxy-Connection, which was never standard but must go all the same.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

#: Fields a Connection line can't remove: without them the message would mean something else (RFC 9110 §7.6.1).
_NOT_NOMINABLE = frozenset({"host", "content-length", "date"})


class _Rule(IntEnum):
    DROP = auto()  #: hop-by-hop, or written anew below
    FORWARDED = auto()  #: believed only from a trusted proxy
    CONNECTION = auto()
    COOKIE = auto()  #: several become one
    REQUEST_ID = auto()
    UPGRADE = auto()
    TE = auto()  #: hop-by-hop, but for one of its members


_REQUEST_RULES: NameTable[_Rule] = NameTable(
    dict.fromkeys(HOP_BY_HOP, _Rule.DROP)
    | {
        "connection": _Rule.CONNECTION,
        "cookie": _Rule.COOKIE,
        "te": _Rule.TE,
        "upgrade": _Rule.UPGRADE,
        "http2-settings": _Rule.DROP,  # a part of the upgrade to h2c, which is never passed on (upgrade.py)
        "host": _Rule.DROP,  # written first, by whoever knows the backend (RFC 9110 §7.2)
        "content-length": _Rule.DROP,  # framing is decided once, in framing.py
        "expect": _Rule.DROP,  # RFC 9110 §10.1.1: answered hop by hop, when a backend takes the body
        "x-request-id": _Rule.REQUEST_ID,
        "forwarded": _Rule.FORWARDED,
        "x-real-ip": _Rule.FORWARDED,
    }
    | dict.fromkeys(
        [
            # Some backends read the scheme from the last three too.
            f"x-forwarded-{what}"
            for what in ("for", "proto", "host", "port", "server", "prefix", "ssl", "scheme", "protocol")
        ],
        _Rule.FORWARDED,
    )
)

_RESPONSE_DROPPED: NameTable[bool] = NameTable(dict.fromkeys(HOP_BY_HOP, True))

#: TE is hop-by-hop, so Connection has to name it (RFC 9110 §10.1.4).
_TAKES_TRAILERS = [("TE", "trailers"), ("Connection", "TE")]


class Hop(NamedTuple):
    """What this hop adds to a request: who sent it, how it came, and whether the sender may speak for others."""

    peer: str
    scheme: str
    port: str
    trusted: bool
    via: str | None  #: the received-by name of the Via entry (RFC 9110 §7.6.3); None writes no Via
    forwarded: bool = False  #: whether a Forwarded field (RFC 7239) is written too
    protocol: str = "HTTP/1.1"  #: what the peer speaks


class RequestHead(NamedTuple):
    """The fields for the backend, and what was read of them on the way."""

    fields: Fields
    client: str  #: the address the request came from first, as far as trusted proxies tell
    request_id: str
    upgrade: bool = False  #: the client named protocols that it would rather speak


def nominated(values: Iterable[str]) -> frozenset[str]:
    """The field names that Connection lines nominate as hop-by-hop: any case, empty elements ignored."""
    return frozenset(name.lower() for name in members(values)) - _NOT_NOMINABLE


def without_nominated(fields: Fields, connection: list[str]) -> Fields:
    """The fields but for those that the Connection lines nominate."""
    if all(value in ("keep-alive", "close") for value in connection):
        return fields  # by far the most common, and they name no field
    gone = nominated(connection) - {"close", "keep-alive"}
    return [field for field in fields if field[0].lower() not in gone]


def te_trailers(fields: Fields, protocol: str = "HTTP/1.1") -> bool:
    """Whether the client takes trailers: its TE lists `trailers` (RFC 9110 §10.1.4), and its protocol has them."""
    return protocol == "HTTP/1.1" and _lists_trailers(value for name, value in fields if name.lower() == "te")


def _lists_trailers(values: Iterable[str]) -> bool:
    return any(member.lower() == "trailers" for member in members(values))


def backend_request(received: Fields, hop: Hop, *, host: str, request_id: str, is_trusted: TrustTest) -> RequestHead:
    """The fields of the request as the backend gets it, without Host and framing fields.

    `host` is the one the client asked for, empty if it named none; `request_id` is used when the client sent none that
    is fit to keep. Hop-by-hop and nominated fields are removed, forwarding fields of an untrusted peer dropped, ours
    added last, so that no Connection line can remove them. Several Cookie lines leave as one, where the first stood:
    backends would see only one of them (RFC 6265 §5.4).
    """
    kept: Fields = []
    said: list[tuple[_Rule, Field]] = []
    rules, dropped = _REQUEST_RULES, _Rule.DROP
    for field in received:
        rule = rules[field[0]]
        if rule is None:
            kept.append(field)
        elif rule is not dropped:
            said.append((rule, field))
            if rule is _Rule.COOKIE:
                kept.append(field)
    if said:
        return _mindful_request(kept, said, hop, host, request_id, is_trusted)
    kept += forwarded_by_us(hop, host)
    kept.append(("X-Request-ID", request_id))
    if hop.via is not None:
        kept.append(("Via", hop.protocol[5:] + " " + hop.via))
    return tuple.__new__(RequestHead, (kept, hop.peer, request_id, False))


def _mindful_request(
    kept: Fields, said: list[tuple[_Rule, Field]], hop: Hop, host: str, request_id: str, is_trusted: TrustTest
) -> RequestHead:
    """As above, for a request in which something was said about other fields, or by other proxies."""
    values: dict[int, list[str]] = {}
    for rule, (_, value) in said:
        values.setdefault(rule, []).append(value)
    if len(values.get(_Rule.COOKIE, ())) > 1:
        kept = with_one_cookie(kept)
    if _Rule.CONNECTION in values:
        kept = without_nominated(kept, values[_Rule.CONNECTION])
    if _Rule.TE in values and hop.protocol == "HTTP/1.1" and _lists_trailers(values[_Rule.TE]):
        kept += _TAKES_TRAILERS
    own_id = values.get(_Rule.REQUEST_ID, [""])[-1]
    request_id = own_id if _loggable(own_id) else request_id
    client = hop.peer
    if hop.trusted and _Rule.FORWARDED in values:
        forwarded = [(name.lower(), value) for rule, (name, value) in said if rule is _Rule.FORWARDED]
        client = original_client([value for name, value in forwarded if name == "x-forwarded-for"], hop, is_trusted)
        kept += forwarded_by_trusted(forwarded, hop, host)
    else:
        kept += forwarded_by_us(hop, host)
    kept.append(("X-Request-ID", request_id))
    if hop.via is not None:
        kept.append(("Via", hop.protocol[5:] + " " + hop.via))
    return RequestHead(kept, client, request_id, _Rule.UPGRADE in values)


def with_one_cookie(fields: Fields) -> Fields:
    """The fields with all Cookie lines as one, where the first stood. Those of other names stay as they are."""
    cookies = [field for field in fields if field[0].lower() == "cookie"]
    joined = (cookies[0][0], "; ".join(value for _, value in cookies if value))
    rest = [field for field in fields if field[0].lower() != "cookie"]
    place = fields.index(cookies[0])
    return [*rest[:place], joined, *rest[place:]]


def forwarded_by_us(hop: Hop, host: str) -> Fields:
    """The forwarding fields of a request that comes without any, or from someone who may not speak for others."""
    own = [("X-Forwarded-For", hop.peer), ("X-Forwarded-Proto", hop.scheme)]
    if host:
        own.append(("X-Forwarded-Host", host))
    own.append(("X-Forwarded-Port", hop.port))
    if hop.forwarded:
        own.append(("Forwarded", forwarded_element(hop.peer, host, hop.scheme)))
    return own


def forwarded_by_trusted(forwarded: Fields, hop: Hop, host: str) -> Fields:
    """The forwarding fields behind a trusted proxy: its words kept, our peer added to the chain."""
    values = dict(reversed(forwarded))
    chain = [value for name, value in forwarded if name == "x-forwarded-for" and value]
    own = {
        "X-Forwarded-For": ", ".join([*chain, hop.peer]),
        "X-Forwarded-Proto": values.get("x-forwarded-proto") or hop.scheme,
        "X-Forwarded-Host": values.get("x-forwarded-host") or host,
        "X-Forwarded-Port": values.get("x-forwarded-port") or hop.port,
    }
    if hop.forwarded:
        elements = [value for name, value in forwarded if name == "forwarded" and value]
        own["Forwarded"] = ", ".join([*elements, forwarded_element(hop.peer, host, hop.scheme)])
    written = {name.lower() for name in own}
    return [
        *((name, value) for name, value in own.items() if value),
        *((name.title(), value) for name, value in forwarded if name not in written),
    ]


def original_client(chain: list[str], hop: Hop, is_trusted: TrustTest) -> str:
    """The client's address: the last one in the X-Forwarded-For lines that no trusted proxy of ours is.

    Read from right to left, since whatever stands left of the first stranger is the stranger's own claim. A claim
    that is no short printable word names nobody, and ends the reading.
    """
    addresses = [address.strip() for line in chain for address in line.split(",")]
    client = hop.peer
    for address in reversed(addresses):
        if not address:
            continue
        if not _loggable(address):
            break
        client = address
        if not is_trusted(address):
            break
    return client


def client_response(received: Fields, via: str | None) -> Fields:
    """The fields of the response as the client gets it; framing fields other than Content-Length are removed."""
    dropped = _RESPONSE_DROPPED
    kept = [field for field in received if not dropped[field[0]]]
    if len(kept) != len(received):
        kept = without_nominated(kept, [value for name, value in received if name.lower() == "connection"])
    if via is not None:
        kept.append(("Via", "1.1 " + via))
    return kept


class TrustTest:
    """Is this address one of our trusted proxies? Callable; the answers to a bounded number of addresses are kept."""

    __slots__ = ("_known", "_networks")

    def __init__(self, networks: Iterable[IPNetwork] = ()) -> None:
        self._networks = tuple(networks)
        self._known: dict[str, bool] = {}

    def __call__(self, address: str) -> bool:
        """False for anything that is not an IP address inside a trusted network."""
        if not self._networks:
            return False
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= 4096:
                self._known.clear()
            known = self._known[address] = self._inside(address)
        return known

    def _inside(self, address: str) -> bool:
        try:
            ip = ip_address(address.removeprefix("::ffff:"))
        except ValueError:
            return False
        return any(ip in network for network in self._networks)


def _loggable(value: str) -> bool:
    """A client's word goes into logs only when it is short and printable."""
    return 0 < len(value) <= 128 and value.isascii() and value.isprintable() and " " not in value
