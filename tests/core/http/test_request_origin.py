from __future__ import annotations

from ipaddress import ip_network

import pytest

from lbflask.core.http.request_origin import RequestOrigin, default_port, loggable, origin_of, port_of
from lbflask.core.http.trusted_proxies import TrustedProxies
from tests.support.changes import property_test

OURS = TrustedProxies([ip_network("10.0.0.0/8")])
PEER = "10.0.0.1"


def origin(*claims: tuple[str, str]) -> RequestOrigin:
    return origin_of(list(claims), PEER, "http", "inner.example:8080", OURS)


def test_without_claims_a_request_comes_from_the_peer() -> None:
    assert origin() == RequestOrigin(PEER, "http", "inner.example:8080", "8080", ())


def test_claims_of_a_trusted_proxy_are_believed() -> None:
    found = origin(
        ("x-forwarded-for", "192.0.2.7, 10.0.0.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-port", "08443"),
        ("forwarded", "for=198.51.100.4"),
    )
    assert found == RequestOrigin("192.0.2.7", "https", "shop.example", "8443", ("192.0.2.7", "10.0.0.9"))
    assert found.secure


def test_forwarded_counts_where_no_other_claim_is_made() -> None:
    found = origin(("forwarded", "for=192.0.2.7;host=shop.example;proto=https, for=10.0.0.9"))
    assert found == RequestOrigin("192.0.2.7", "https", "shop.example", "443", ("192.0.2.7", "10.0.0.9"))
    assert origin(("forwarded", "proto=https")) == RequestOrigin(
        "unknown", "https", "inner.example:8080", "8080", ("unknown",)
    )
    assert origin(("forwarded", "for=192.0.2.7")) == RequestOrigin(
        "192.0.2.7", "http", "inner.example:8080", "8080", ("192.0.2.7",)
    )
    assert origin(("forwarded", "junk")) == origin()


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("1.1.1.1, 192.0.2.7, 10.0.0.9", ("192.0.2.7", "10.0.0.9")),  # left of a stranger is the stranger's own claim
        ("10.0.0.7,, ,10.0.0.8", ("10.0.0.7", "10.0.0.8")),  # all are trusted
        ("192.0.2.7, a client, 10.0.0.9", ("10.0.0.9",)),  # no client has such a name
        ("localhost", ()),
    ],
)
def test_the_path_begins_at_the_last_address_that_is_no_trusted_proxy(line: str, path: tuple[str, ...]) -> None:
    found = origin(("x-forwarded-for", line))
    assert (found.path, found.client) == (path, path[0] if path else PEER)


def test_the_elements_of_a_path_name_host_and_scheme_once() -> None:
    found = RequestOrigin("192.0.2.7", "https", "shop.example", "443", ("192.0.2.7", "2001:db8::1"))
    assert found.elements(PEER) == 'for=192.0.2.7;host=shop.example;proto=https, for="[2001:db8::1]", for=10.0.0.1'


@pytest.mark.parametrize(
    ("authority", "port"),
    [
        ("a:80", "80"),
        ("a", ""),
        ("[::1]:8080", "8080"),
        ("[::1]", ""),
        ("a:81 , b:82", "81"),
        ("a:0080", "80"),
        ("a:65535", "65535"),
        ("a:65536", ""),
        ("a:x", ""),
        ("a:\u0661", ""),
    ],
)
def test_a_port_is_one_of_tcp(authority: str, port: str) -> None:
    assert port_of(authority) == port


@pytest.mark.parametrize(("scheme", "port"), [("http", "80"), ("HTTPS", "443"), ("wss , http", "443"), ("", "80")])
def test_a_scheme_implies_a_port(scheme: str, port: str) -> None:
    assert default_port(scheme) == port


@pytest.mark.parametrize(
    ("text", "fit"), [("a", True), ("~" * 128, True), ("", False), ("a" * 129, False), ("a b", False), ("\xe9", False)]
)
def test_only_short_printable_words_are_logged(text: str, fit: bool) -> None:
    assert loggable(text) is fit


test_any_head_is_forwarded_without_fields_of_this_hop = property_test("fields")
test_any_text_is_the_address_that_the_system_reads = property_test("address")
