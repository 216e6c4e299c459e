from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.access_list import AccessList, BadNetworks, network_list
from tests.support.changes import property_test


def access(allow: str = "", deny: str = "") -> AccessList:
    return AccessList(
        [network_list(allow.split())] if allow else [],
        [network_list(deny.split())] if deny else [],
    )


def admitted(found: AccessList, addresses: str) -> list[str]:
    return [address for address in addresses.split() if found.admits(address)]


@pytest.mark.parametrize(
    ("allow", "deny", "yes", "no"),
    [
        ("", "", "203.0.113.1 ::1 unix:", ""),
        ("", "203.0.113.0/24", "203.0.112.255 203.0.114.0 2001:db8::1 unix: unknown", "203.0.113.0 203.0.113.255"),
        ("10.0.0.0/8", "", "10.0.0.0 10.255.255.255", "9.255.255.255 11.0.0.0 ::1 unix: _hidden"),
        ("10.0.0.0/8", "10.1.0.0/16", "10.0.0.1 10.2.0.0", "10.1.2.3 192.0.2.1"),
        ("10.1.2.3 all", "10.1.0.0/16", "10.1.2.3 192.0.2.1 ::1 unix:", "10.1.2.2 10.1.2.4"),
        ("10.1.2.3", "10.1.2.3", "", "10.1.2.3 10.1.2.4"),
        ("10.0.0.0/8", "all", "10.0.0.1", "192.0.2.1 ::1 unix:"),
        ("all", "all", "", "10.0.0.1 ::1 unix:"),
        ("unix", "", "unix: unknown", "10.0.0.1 ::1"),
        ("", "unix", "10.0.0.1 ::1", "unix:"),
        ("unix", "unix", "", "unix:"),
        ("2001:db8::/32", "", "2001:db8::1 2001:db8:ffff::", "2001:db7:: 2001:db9:: 0.0.0.1 10.0.0.1"),
        ("", "2001:db8::/32 fe80::/10", "2001:db9::", "2001:db8:: fe80::1 fe80::1%eth0"),
        ("", "0.0.0.0/0", "::1 2001:db8::1", "0.0.0.0 255.255.255.255 ::ffff:192.0.2.1"),
        ("", "::/0", "192.0.2.1 ::ffff:192.0.2.1", ":: ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("", "::ffff:192.0.2.0/120", "192.0.3.0", "192.0.2.7 ::ffff:192.0.2.9"),
        ("", "255.255.255.255 0.0.0.0", "0.0.0.1 255.255.255.254", "0.0.0.0 255.255.255.255"),
        ("", "10.0.0.0/9 10.128.0.0/9", "11.0.0.0", "10.0.0.0 10.127.255.255 10.128.0.0 10.255.255.255"),
    ],
)
def test_the_most_specific_network_decides(allow: str, deny: str, yes: str, no: str) -> None:
    found = access(allow, deny)
    assert admitted(found, f"{yes} {no}") == yes.split()


def test_an_allowed_list_that_has_become_empty_admits_no_client() -> None:
    found = AccessList([network_list([])], [])
    assert not found.admits("192.0.2.1")
    assert not found.admits("unix:")


def test_lists_of_both_kinds_are_taken_together() -> None:
    found = AccessList(
        [network_list(["10.0.0.0/8"]), network_list(["::1"])],
        [network_list(["10.9.0.0/16"]), network_list(["10.8.0.1"])],
    )
    assert admitted(found, "10.1.1.1 ::1 10.9.0.0 10.8.0.1") == ["10.1.1.1", "::1"]
    assert (found.size, repr(found)) == (4, "AccessList(4 networks, others refused)")
    assert repr(access()) == "AccessList(0 networks, others admitted)"


def test_lists_have_comments_blanks_and_empty_lines() -> None:
    found = network_list(
        ["# known bad", "", " 192.0.2.1 # one", "198.51.100.0/24 ; SBL1", "2001:db8::/32;x", "all", "unix"]
    )
    assert (len(found.v4), len(found.v6), found.everyone, found.unix, len(found)) == (2, 1, True, True, 5)


def test_each_bad_line_is_named_with_its_number_and_what_to_write() -> None:
    with pytest.raises(BadNetworks) as error:
        network_list(["192.0.2.1", "example.com", "192.0.2.1/24", "1.2.3", "2001:db8::1/32", "x" * 99])
    assert error.value.errors == [
        (2, "'example.com' is no address or network such as 203.0.113.0/24 or 2001:db8::/32"),
        (3, "'192.0.2.1/24' is an address within a network: write 192.0.2.0/24, or 192.0.2.1"),
        (4, "'1.2.3' is no address or network such as 203.0.113.0/24 or 2001:db8::/32"),
        (5, "'2001:db8::1/32' is an address within a network: write 2001:db8::/32, or 2001:db8::1"),
        (6, f"'{'x' * 59}…' is no address or network such as 203.0.113.0/24 or 2001:db8::/32"),
    ]
    assert str(error.value) == error.value.errors[0][1]


@pytest.mark.parametrize(
    "text",
    [
        "1.2.3.256", "1.2.3.4.5", "01.2.3.4", "1.2.3.", "1.2.3.+4", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/x", "1.2.3.4/-1",
        "1.2.3.4/100", "1.2.3.4/¹", "\u0661.2.3.4", "1.2.3.0004", "::g", "::/129",
    ],
)  # fmt: skip
def test_what_resembles_a_network_is_none(text: str) -> None:
    with pytest.raises(BadNetworks):
        network_list([text])


def test_a_mask_and_a_prefix_with_a_zero_are_read_as_the_standard_library_does() -> None:
    assert network_list(["10.0.0.0/255.0.0.0"]) == network_list(["10.0.0.0/8"]) == network_list(["10.0.0.0/08"])


v4_networks = st.builds(
    lambda address, length: ip_network((address, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
near = st.builds(
    lambda base, length: ip_network((base << 24, length), strict=False), st.integers(0, 3), st.integers(5, 32)
)
v6_networks = st.builds(
    lambda address, length: ip_network((IPv6Address(address), length), strict=False),
    st.integers(0, 2**128 - 1),
    st.integers(0, 128),
)
networks = st.lists(st.one_of(v4_networks, near, v6_networks), max_size=12)


def naive(
    allow: list[IPv4Network | IPv6Network], deny: list[IPv4Network | IPv6Network], address: IPv4Address | IPv6Address
) -> bool:
    """By the definition: the longest prefix that contains it, denied before allowed."""
    found = [(one.prefixlen, denied) for denied, side in enumerate((allow, deny)) for one in side if address in one]
    return max(found)[1] == 0 if found else not allow


@given(networks, networks, st.data())
def test_it_decides_as_the_definition_does(
    allow: list[IPv4Network | IPv6Network], deny: list[IPv4Network | IPv6Network], data: st.DataObject
) -> None:
    # The mapped part of IPv6 is IPv4, which the definition above does not know.
    mapped = IPv6Network("::ffff:0:0/96")
    allow, deny = ([one for one in side if one.version == 4 or not one.overlaps(mapped)] for side in (allow, deny))
    found = AccessList([network_list(map(str, allow))] if allow else [], [network_list(map(str, deny))])
    edges = [ip_address(int(one[at]) + step) for one in (*allow, *deny) for at, step in ((0, 0), (-1, 0))]
    for address in [*edges, ip_address(data.draw(st.integers(0, 2**32 - 1)))]:
        assert found.admits(str(address)) is naive(allow, deny, address)
    beside = [int(one[-1]) + 1 for one in (*allow, *deny) if isinstance(one, IPv4Network) and int(one[-1]) < 2**32 - 1]
    for number in beside:
        assert found.admits(str(IPv4Address(number))) is naive(allow, deny, IPv4Address(number))


test_any_list_is_read_line_by_line = property_test("networks")
