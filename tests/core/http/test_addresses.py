from __future__ import annotations

from ipaddress import ip_network

import pytest

from lbflask.core.http.addresses import node_address, plain_address, plain_network, plain_nodes
from tests.support.changes import property_test


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("unix:", "unix:"),
        ("192.0.2.01", "192.0.2.01"),
        ("", ""),
    ],
)
def test_an_address_has_one_form_and_any_other_text_stays(text: str, plain: str) -> None:
    assert plain_address(text) == plain


@pytest.mark.parametrize(
    ("network", "plain"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("fd00::/8", "fd00::/8"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ],
)
def test_a_network_of_mapped_addresses_is_one_of_ipv4(network: str, plain: str) -> None:
    assert plain_network(ip_network(network)) == ip_network(plain)


@pytest.mark.parametrize(
    ("node", "address"),
    [
        (" 192.0.2.1\t", "192.0.2.1"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("192.0.2.1:", "192.0.2.1"),
        ("192.0.2.1:_port", "192.0.2.1"),
        ('"[2001:db8::1]:443"', "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("1:2:3:4:5:6:7:8:443", "1:2:3:4:5:6:7:8"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("Unknown", "unknown"),
        ("_hidden", "_hidden"),
        ("192.0.2.1:x", ""),
        ("192.0.2.1:123456", ""),
        ("[192.0.2.1]", ""),
        ("[::1", ""),
        ("1::1]", ""),
        ("[::1]80", ""),
        ("localhost", ""),
        ("", ""),
    ],
)
def test_a_node_is_an_address_an_identifier_or_nothing(node: str, address: str) -> None:
    """RFC 7239 §6."""
    assert node_address(node) == address


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        ("192.0.2.1, ::ffff:10.0.0.1", "192.0.2.1, 10.0.0.1"),
        ("::ffff:192.0.2.1,[::ffff:10.0.0.1]:80", "192.0.2.1,10.0.0.1:80"),
        ('"[::ffff:10.0.0.1]:80" , _x', '"10.0.0.1:80" , _x'),
        ("2001:db8::1, junk:, ", "2001:db8::1, junk:, "),
        ('"[2001:DB8::1]:443", 2001:DB8:0::2', '"[2001:DB8::1]:443", 2001:DB8:0::2'),
    ],
)
def test_only_mapped_addresses_of_a_line_change(line: str, plain: str) -> None:
    assert plain_nodes(line) == plain


test_any_text_is_the_address_that_the_system_reads = property_test("address")
