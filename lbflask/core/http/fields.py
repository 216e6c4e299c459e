"""Which header fields are forwarded, and which the proxy writes. All other bytes pass unchanged and in order.

Fields are pairs of latin-1 strings, one pair a line received: a repeated field stays repeated (RFC 9110 §5.3).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, auto
from typing import Final, NamedTuple

from lbflask.core.http.addresses import node_address, parsed_address, plain_nodes
from lbflask.core.http.field_names import NameCache, NameTable, members
from lbflask.core.http.forwarded import forwarded_element, plain_line
from lbflask.core.http.proxy_fields import is_claim, is_disguised_claim, states_address
from lbflask.core.http.request_origin import RequestOrigin, loggable, origin_of, port_of
from lbflask.core.http.trusted_proxies import TrustedProxies
from lbflask.core.http.types import Field, Fields

#: RFC 9110 §7.6.1 and §11.7, and Proxy-Connection, which was never standard but must go all the same.
HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"}
    | {"te", "trailer", "transfer-encoding", "upgrade"}
)

#: Fields a Connection line can't remove: without them the message would mean something else (RFC 9110 §7.6.1).
_NOT_NOMINABLE: Final = frozenset({"host", "content-length", "date"})


class _Rule(IntEnum):
    DROP = auto()  #: hop-by-hop, or written anew below
    CLAIM = auto()  #: believed only from a trusted proxy
    CONNECTION = auto()
    COOKIE = auto()  #: several become one
    REQUEST_ID = auto()
    UPGRADE = auto()
    TE = auto()  #: hop-by-hop, but for one of its members


# Members as globals: to look one up in its class takes ten times as long, in Python 3.11.
_DROP: Final = _Rule.DROP
_COOKIE: Final = _Rule.COOKIE
_RULES: Final = dict.fromkeys(HOP_BY_HOP, _Rule.DROP) | {
    "connection": _Rule.CONNECTION,
    "cookie": _Rule.COOKIE,
    "te": _Rule.TE,
    "upgrade": _Rule.UPGRADE,
    "http2-settings": _Rule.DROP,  # a part of the upgrade to h2c, which is never passed on (upgrade.py)
    "host": _Rule.DROP,  # written first, once the backend is chosen (RFC 9110 §7.2)
    "content-length": _Rule.DROP,  # framing is decided once, in framing.py
    "expect": _Rule.DROP,  # RFC 9110 §10.1.1: answered hop by hop, when a backend takes the body
    "x-request-id": _Rule.REQUEST_ID,
}


class RequestRules(NameCache[_Rule | None]):
    """The rule for a field of a request, by the exact spelling of its name; None forwards it.

    Claims whose names, in small letters, are `kept` pass from all peers.
    """

    def __init__(self, kept: frozenset[str] = frozenset()) -> None:
        super().__init__(self._rule)
        self._kept = kept

    def keeping(self, names: frozenset[str]) -> RequestRules:
        """These rules, where claims of these names pass too."""
        return RequestRules(self._kept | names)

    def _rule(self, name: str) -> _Rule | None:
        lower = name.lower()
        if is_claim(lower):
            return None if lower in self._kept else _Rule.CLAIM
        return _Rule.DROP if is_disguised_claim(lower) else _RULES.get(lower)


STANDARD_RULES: Final = RequestRules()

_RESPONSE_DROPPED: Final[NameTable[bool]] = NameTable(dict.fromkeys(HOP_BY_HOP, True))

#: TE is hop-by-hop, so Connection has to name it (RFC 9110 §10.1.4).
_TAKES_TRAILERS: Final = [("TE", "trailers"), ("Connection", "TE")]


class ClientHop(NamedTuple):
    """The facts of a client connection that are added to its requests, and whether the peer is a trusted proxy."""

    peer: str
    scheme: str
    port: str  #: of a URL with this scheme that names none
    trusted: bool
    via: str | None  #: the received-by name of the Via entry (RFC 9110 §7.6.3); None writes no Via
    forwarded: bool = False  #: whether a Forwarded field (RFC 7239) is written too
    protocol: str = "HTTP/1.1"  #: the protocol of the request
    rules: RequestRules = STANDARD_RULES


class RequestHead(NamedTuple):
    """The fields for the backend, and the values that were read from the received ones."""

    fields: Fields
    client: str  #: the address the request came from first, as far as trusted proxies tell
    request_id: str
    upgrade: bool  #: the client named protocols that it prefers


def nominated(values: Iterable[str]) -> frozenset[str]:
    """The field names that Connection lines nominate as hop-by-hop: any case, empty elements ignored."""
    return frozenset(name.lower() for name in members(values)) - _NOT_NOMINABLE


def without_nominated(fields: Fields, connection: list[str]) -> Fields:
    """The fields, which have no hop-by-hop ones, but for those that the Connection lines nominate."""
    if all(value in ("keep-alive", "close") for value in connection):
        return fields  # by far the most common, and they name no field
    gone = nominated(connection) - {"close"}
    return [field for field in fields if field[0].lower() not in gone]


def te_trailers(fields: Fields, protocol: str = "HTTP/1.1") -> bool:
    """Whether the client takes trailers: its TE lists `trailers` (RFC 9110 §10.1.4), and its protocol has them."""
    return protocol == "HTTP/1.1" and _lists_trailers(value for name, value in fields if name.lower() == "te")


def _lists_trailers(values: Iterable[str]) -> bool:
    return any(member.lower() == "trailers" for member in members(values))


def backend_request(
    received: Fields, hop: ClientHop, host: str, request_id: str, is_trusted: TrustedProxies
) -> RequestHead:
    """The fields of the request as the backend gets it, without Host and framing fields.

    `host` is the one the client asked for, empty if it named none; `request_id` is used when the client sent none that
    is fit to keep. Hop-by-hop and nominated fields are removed, forwarding fields of an untrusted peer dropped, ours
    added last, so that no Connection line can remove them. Several Cookie lines leave as one, where the first stood:
    backends would see only one of them (RFC 6265 §5.4).
    """
    kept: Fields = []
    said: list[tuple[_Rule, Field]] = []
    rules, dropped = hop.rules, _DROP
    for field in received:
        rule = rules[field[0]]
        if rule is None:
            kept.append(field)
        elif rule is not dropped:
            said.append((rule, field))
            if rule is _COOKIE:
                kept.append(field)
    client, upgrade = hop.peer, False
    if said:
        kept, client, request_id, upgrade = _mindful_request(kept, said, hop, host, request_id, is_trusted)
    else:
        kept += forwarded_by_us(hop, host)
    kept.append(("X-Request-ID", request_id))
    if hop.via is not None:
        kept.append(("Via", hop.protocol[5:] + " " + hop.via))
    return tuple.__new__(RequestHead, (kept, client, request_id, upgrade))


def _mindful_request(
    kept: Fields,
    said: list[tuple[_Rule, Field]],
    hop: ClientHop,
    host: str,
    request_id: str,
    is_trusted: TrustedProxies,
) -> RequestHead:
    """Slow path: a request with Connection, TE, Cookie, X-Request-ID or forwarding fields. Its fields lack the last two
    that each request gets: X-Request-ID and Via.
    """
    values: dict[int, list[str]] = {}
    for rule, (_, value) in said:
        values.setdefault(rule, []).append(value)
    if len(values.get(_Rule.COOKIE, ())) > 1:
        kept = with_one_cookie(kept)
    if _Rule.CONNECTION in values:
        kept = without_nominated(kept, values[_Rule.CONNECTION])
    if _Rule.TE in values and hop.protocol == "HTTP/1.1" and _lists_trailers(values[_Rule.TE]):
        kept += _TAKES_TRAILERS
    request_id = _request_id(values.get(_Rule.REQUEST_ID), request_id)
    client = hop.peer
    if hop.trusted and _Rule.CLAIM in values:
        claims = [field for rule, field in said if rule is _Rule.CLAIM]
        origin = request_origin(claims, hop, host, is_trusted)
        client = origin.client
        kept += forwarded_by_trusted(claims, hop, host, origin)
    else:
        kept += forwarded_by_us(hop, host)
    return RequestHead(kept, client, request_id, _Rule.UPGRADE in values)


def request_identity(
    received: Fields, hop: ClientHop, host: str, request_id: str, is_trusted: TrustedProxies
) -> tuple[str, str]:
    """The client's address and the id of a request that goes to no backend, as `backend_request` has them."""
    rules, rule = hop.rules, _Rule.REQUEST_ID
    stated = [value for name, value in received if rules[name] is rule]
    client = request_origin(received, hop, host, is_trusted).client if hop.trusted else hop.peer
    return client, _request_id(stated, request_id) if stated else request_id


def _request_id(stated: list[str] | None, fresh: str) -> str:
    """The id that the client has stated last, if it is fit to keep; else the fresh one."""
    return stated[-1] if stated and loggable(stated[-1]) else fresh


def credible_fields(received: Fields, hop: ClientHop) -> Fields:
    """The fields without the claims of an untrusted peer."""
    return received if hop.trusted else [field for field in received if hop.rules[field[0]] is not _Rule.CLAIM]


def with_one_cookie(fields: Fields) -> Fields:
    """The fields with all Cookie lines as one, where the first stood. Those of other names stay as they are."""
    cookies = [field for field in fields if field[0].lower() == "cookie"]
    joined = (cookies[0][0], "; ".join(value for _, value in cookies if value))
    rest = [field for field in fields if field[0].lower() != "cookie"]
    place = fields.index(cookies[0])
    return [*rest[:place], joined, *rest[place:]]


def forwarded_by_us(hop: ClientHop, host: str) -> Fields:
    """The forwarding fields of a request that comes without any, or from a peer whose fields are not trusted."""
    stated = [("X-Forwarded-For", hop.peer), ("X-Forwarded-Proto", hop.scheme)]
    if host:
        stated.append(("X-Forwarded-Host", host))
    stated.append(("X-Forwarded-Port", (":" in host and port_of(host)) or hop.port))
    stated.append(("X-Real-IP", hop.peer))
    if hop.forwarded:
        stated.append(("Forwarded", forwarded_element(hop.peer, host, hop.scheme)))
    return stated


def forwarded_by_trusted(claims: Fields, hop: ClientHop, host: str, origin: RequestOrigin) -> Fields:
    """The forwarding fields behind a trusted proxy: its statements kept, our peer added to the chain.

    X-Real-IP is the client's address. That of a proxy counts only where it states no chain, and is an address.
    """
    lines = [value for name, value in claims if name.lower() == "x-forwarded-for" and value]
    chain = [plain_nodes(line) for line in lines] or origin.path
    stated = {
        "X-Forwarded-For": ", ".join([*chain, hop.peer]),
        "X-Forwarded-Proto": origin.scheme,
        "X-Forwarded-Host": origin.host,
        "X-Forwarded-Port": origin.port,
        "X-Real-IP": origin.client if origin.path else _real_ip(claims) or origin.client,
    }
    if hop.forwarded:
        elements = [plain_line(value) for name, value in claims if name.lower() == "forwarded" and value]
        ours = [forwarded_element(hop.peer, host, hop.scheme)] if elements else [origin.elements(hop.peer)]
        stated["Forwarded"] = ", ".join(elements + ours)
    written = {name.lower() for name in stated}
    return [
        *((name, value) for name, value in stated.items() if value),
        *((name, plain_claim(name, value)) for name, value in claims if name.lower() not in written),
    ]


def _real_ip(claims: Fields) -> str:
    """The address in X-Real-IP, in its plain form; empty if there is none, or several differ."""
    stated = {value.strip(" \t") for name, value in claims if name.lower() == "x-real-ip"}
    address = parsed_address(node_address(stated.pop())) if len(stated) == 1 else None
    return "" if address is None else str(address)


def plain_claim(name: str, value: str) -> str:
    """The value of a claim, with IPv4 addresses as such where it states them mapped into IPv6."""
    if name.lower() == "forwarded":
        return plain_line(value)
    return plain_nodes(value) if states_address(name) else value


def request_origin(received: Fields, hop: ClientHop, host: str, is_trusted: TrustedProxies) -> RequestOrigin:
    """Where a request with these fields comes from, that came by the hop and asks for the host."""
    if not hop.trusted:
        return RequestOrigin(hop.peer, hop.scheme, host, port_of(host) or hop.port)
    claims = [(name.lower(), value) for name, value in received if is_claim(name)]
    return origin_of(claims, hop.peer, hop.scheme, host, is_trusted)


def client_response(received: Fields, via: str | None) -> Fields:
    """The fields of the response as the client gets it; framing fields other than Content-Length are removed."""
    dropped = _RESPONSE_DROPPED
    kept = [field for field in received if not dropped[field[0]]]
    if len(kept) != len(received):
        kept = without_nominated(kept, [value for name, value in received if name.lower() == "connection"])
    if via is not None:
        kept.append(("Via", "1.1 " + via))
    return kept


def bodiless_response(received: Fields, via: str | None) -> Fields:
    """As `client_response`, for a status of 1xx or 204: without Content-Length too (RFC 9110 §8.6, RFC 9112 §6.1)."""
    return [field for field in client_response(received, via) if field[0].lower() != "content-length"]
