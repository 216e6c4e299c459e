"""Header fields: forwarding, addresses, cookies, keys, trace context, upgrades, and the changes of routes and hooks."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network
from urllib.parse import parse_qsl, quote

from pydantic import ValidationError
from werkzeug.datastructures import MultiDict
from werkzeug.http import parse_cookie

from lbflask.config.header_edits import HeaderEditsConfig
from lbflask.core.hook_api import Change
from lbflask.core.http import addresses as ip
from lbflask.core.http import cookies, trace_context, upgrade
from lbflask.core.http.addresses import parsed_address
from lbflask.core.http.fields import (
    HOP_BY_HOP,
    ClientHop,
    backend_request,
    client_response,
    nominated,
    request_identity,
    te_trailers,
)
from lbflask.core.http.forwarded import forwarded_element, forwarded_elements, plain_line
from lbflask.core.http.header_edits import UNTOUCHABLE
from lbflask.core.http.max_forwards import BadMaxForwards, with_one_hop_less
from lbflask.core.http.proxy_fields import is_claim, is_disguised_claim
from lbflask.core.http.request_key import RequestKey
from lbflask.core.http.request_origin import loggable, port_of
from lbflask.core.http.trailers import passable_trailers
from lbflask.core.http.trusted_proxies import TrustedProxies
from lbflask.core.http.types import Fields
from lbflask.core.rate_limit import of_client
from lbflask.core.route_match import NO_SOURCE, RequestSource, RoutedRequest
from lbflask.core.sticky_cookie import Affinity

_TRUSTED = TrustedProxies([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
_EVERYONE = TrustedProxies([ip_network("0.0.0.0/0"), ip_network("::/0")])
NOW = 1_700_000_000.0
_BACKENDS = ("10.0.0.1:80", "web-2")


def affinity() -> Affinity:
    """Sticky sessions of two backends, by a fixed secret."""
    sessions = Affinity("shop", ["a secret of the corpora"])
    sessions.know(_BACKENDS)
    return sessions


_SESSIONS = affinity()


def lines_of(text: str) -> Fields:
    """Lines of a head: names and values, without blanks around the values."""
    parts = (line.partition(":") for line in text.split("\n"))
    return [(name, value.strip(" \t")) for name, colon, value in parts if colon]


def fields(text: str) -> None:
    """A head that crosses the balancer: no hop-by-hop field, and no statement of a peer that is not trusted."""
    received = lines_of(text)
    for trusted in (False, True):
        hop = ClientHop("10.0.0.1", "http", "80", trusted, "lb", forwarded=True)
        head = backend_request(received, hop, "example.com", "id-1", _TRUSTED)
        _check_forwarded_head(head.fields, received, trusted=trusted)
        assert loggable(head.request_id)
        assert head.client == hop.peer or trusted
        assert request_identity(received, hop, "example.com", "id-1", _TRUSTED) == (head.client, head.request_id)
    passed = client_response(received, None)
    assert not [name for name, _ in passed if name.lower() in HOP_BY_HOP]
    assert all(pair in received for pair in passed)
    assert all(pair in received for pair in passable_trailers(received))
    assert not any(is_claim(name) for name, _ in passable_trailers(received))
    te_trailers(received)
    _check_max_forwards(received)
    _check_upgrade(received)


def _check_forwarded_head(sent: Fields, received: Fields, *, trusted: bool) -> None:
    names = [name.lower() for name, _ in sent]
    gone = nominated(value for name, value in received if name.lower() == "connection")
    ours = {"x-request-id", "via", "forwarded", "connection", "te"} | {name for name in names if is_claim(name)}
    assert not (set(names) & (HOP_BY_HOP | gone | {"host", "content-length", "expect"})) - ours
    assert [pair for pair in sent if pair[0].lower() in ("te", "connection")] in (
        [],
        [("TE", "trailers"), ("Connection", "TE")],
    )
    assert names.count("x-request-id") == names.count("via") - sum(
        name.lower() == "via" for name, _ in received
    ) == 1 or ("via" in gone)
    if not trusted:
        stated = [pair for pair in sent if is_claim(pair[0])]
        assert {("X-Forwarded-For", "10.0.0.1"), ("X-Real-IP", "10.0.0.1")} <= set(stated)
        assert len({name.lower() for name, _ in stated}) == len(stated) == 6
        assert not any(is_disguised_claim(name) for name in names)


def _check_max_forwards(received: Fields) -> None:
    try:
        left = with_one_hop_less("TRACE", received)
    except BadMaxForwards:
        return
    counts = [int(value.strip(" \t")[-9:]) for name, value in left or [] if name.lower() == "max-forwards"]
    assert all(0 <= count <= 999_999_998 for count in counts)


def _check_upgrade(received: Fields) -> None:
    offer = upgrade.requested_upgrade(received, "HTTP/1.1")
    protocols = {member.split("/")[0].strip().lower() for member in offer.split(",")}
    assert not protocols & {"h2c", "h2", "http", "tls"}
    assert upgrade.requested_upgrade(received, "HTTP/1.0") == ""
    if offer:
        again = upgrade.with_upgrade(received, offer)
        assert upgrade.requested_upgrade(again[-2:], "HTTP/1.1") == offer
        assert upgrade.accepted_upgrade([("Upgrade", offer)], offer)
    assert not upgrade.accepted_upgrade([("Upgrade", "a-protocol-that-nobody-offered")], offer)


def forwarded(text: str) -> None:
    """A Forwarded line: its elements, or none; and an element of ours is read as it was written."""
    elements = forwarded_elements([text])
    plain = plain_line(text)
    assert plain_line(plain) == plain
    assert [sorted(element) for element in forwarded_elements([plain])] == [sorted(element) for element in elements]
    written = forwarded_elements([forwarded_element(text, text, "http")])
    node = ip.parsed_address(text)
    shown = ("[{}]" if node is not None and node.version == 6 else "{}").format(node)
    expected = {"for": text if ip.is_obfuscated(text) else shown if node else "unknown", "proto": "http"}
    assert written == [expected | ({"host": text} if text else {})]


def address(text: str) -> None:
    """Addresses as the system's resolver reads them; other texts are none, or stay."""
    found = ip.parsed_address(text)
    packed = _packed(text)
    if packed is not None:
        assert found is not None
        assert found == ip.parsed_address(str(ip_address(packed)))
    else:
        assert found is None or "%" in text
    plain = ip.plain_address(text)
    assert ip.plain_address(plain) == plain
    assert _EVERYONE(text) is (found is not None)
    node = ip.node_address(text)
    assert node in ("", "unknown") or ip.is_obfuscated(node) or ip.plain_address(node) == node == str(ip_address(node))
    nodes = ip.plain_nodes(text)
    assert ip.plain_nodes(nodes) == nodes
    assert nodes.count(",") == text.count(",")
    port = port_of(text)
    assert not port or 0 < int(port) <= 65_535
    assert of_client(of_client(text).removesuffix("/64")) == of_client(text)
    try:
        network = ip_network(text)
    except ValueError:
        return
    assert ip.plain_network(network).num_addresses == network.num_addresses


def _packed(text: str) -> bytes | None:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
    return None


def cookie(text: str) -> None:
    """Cookie lines: ours are removed and read as Werkzeug reads them; a session leads to a backend or nowhere."""
    received = [("Cookie", line) for line in text.split("\n")]
    kept = list(received)
    values = cookies.take(kept, "LB")
    assert cookies.take(list(kept), "LB") == []
    assert sum(len(line) for _, line in kept) <= len(text)
    joined = "; ".join(line for _, line in received)
    pairs = joined.split(";")
    if joined.isprintable() and joined.isascii() and '"' not in joined and all("=" in pair for pair in pairs):
        assert parse_cookie(joined, cls=MultiDict).getlist("LB") == [
            value
            for value in values
            if " " not in value  # Werkzeug ignores others
        ]
    assert _SESSIONS.home(values, NOW) in ("", *_BACKENDS)
    assert affinity().home(values, NOW) == _SESSIONS.home(values, NOW)
    ours = _SESSIONS.cookie("web-2", NOW)
    line = [("Cookie", f"LB={ours}; {text}")]
    assert _SESSIONS.home(cookies.take(line, "LB"), NOW) == "web-2"
    cookies.kept_from_shared_caches([("Cache-Control", text)])


def request_key(text: str) -> None:
    """A key, a target and lines of a head. A value that urllib or Werkzeug reads leads to the same key when it is
    written in another way.
    """
    name, _, rest = text.partition("\n")
    target, _, head = rest.partition("\n")
    try:
        key = RequestKey.parse(name)
    except ValueError:
        return
    received = lines_of(head)
    target = target or "/"
    values = key.values("192.0.2.1", target, received)
    assert "" not in values
    assert len(set(values)) == len(values)
    of = key.of("192.0.2.1", target, received)
    assert of is None or of in values or key.kind == "header"
    if key.kind == "query":
        for parameter, value in parse_qsl(target.partition("?")[2], encoding="latin-1"):
            if parameter == key.name and '"' not in value:
                written = key.values("", f"/?{key.name}={quote(value, encoding='latin-1')}", [])
                assert set(written) <= set(values)


def trace(text: str) -> None:
    """A traceparent: ignored, or read as it is written again."""
    found = trace_context.parsed(text)
    if found is not None:
        assert found.trace
        assert found.span
        assert trace_context.parsed(found.as_traceparent()) == found
    lines = [("traceparent", text), ("tracestate", "a=b"), ("X-A", "b")]
    begun = trace_context.begun(lines, lambda: 1, lambda: 2, lambda _: True)
    assert begun is None or ("X-A", "b") in begun.attempt()
    if begun is None:
        assert found is not None
        assert not found.sampled


def header_edits(text: str) -> None:
    """Lines such as `set:Name: value`: rejected, or edits that leave framing alone and break no line."""
    tables: dict[str, dict[str, str]] = {"set": {}, "add": {}}
    removed = []
    for name, value in lines_of(text):
        field, _, content = value.partition(":")
        if name in tables:
            tables[name][field] = content
        else:
            removed.append(field)
    received = [("Host", "a"), ("Content-Length", "1"), ("X-A", "b"), ("x-a", "c")]
    try:
        config = HeaderEditsConfig.model_validate({**tables, "remove": removed})
        config.check("edits")
        edits = config.to_model()
    except (ValidationError, ValueError):
        edits = None
    try:
        change = Change(tables["set"], tuple(removed))
    except ValueError:
        change = None
    for edited in ([] if edits is None else [edits.of(received)]) + (
        [] if change is None else [change.applied_to(received)]
    ):
        assert not any(sign in part for pair in edited for part in pair for sign in "\r\n\0")
        untouched = [
            pair for pair in edited if pair[0].lower() in UNTOUCHABLE - {"proxy-authenticate", "proxy-authorization"}
        ]
        assert untouched == received[:2]


def routed_request(text: str) -> None:
    """A query and a Cookie line, in two lines: values without what parts them, as many as there are at most."""
    query, _, cookie = text.partition("\n")
    request = RoutedRequest("shop.example", "/?" + query, "GET", [("Cookie", cookie)], NO_SOURCE)
    assert sum(map(len, request.query.values())) == query.count("&") + 1
    assert sum(map(len, request.cookies.values())) <= cookie.count(";") + 1
    assert not any(";" in value for values in request.cookies.values() for value in values)
    assert RoutedRequest("", "/", "GET", [], RequestSource(text, "http", None)).address == parsed_address(text)
