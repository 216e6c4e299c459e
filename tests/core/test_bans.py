from __future__ import annotations

import pytest

from lbflask.core import bans
from lbflask.core.bans import Ban, BanList, banned_network
from tests.support.changes import property_test


def listed(*found: Ban) -> BanList:
    made = BanList()
    for ban in found:
        made.put(ban, 0.0)
    return made


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7/24", "203.0.113.0/24"),
        ("203.0.113.7/32", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("2001:db8::1/64", "2001:db8::/64"),
        ("10.0.0.0/8", "10.0.0.0/8"),
    ],
)
def test_a_network_has_one_form(text: str, network: str) -> None:
    assert banned_network(text) == network


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("example.com", "'example.com' is no address or network such as 203.0.113.7 or 2001:db8::/48"),
        ("0.0.0.0/7", "'0.0.0.0/7' is too large a network: the shortest prefix of a ban is /8"),
        ("::/0", "'::/0' is too large a network: the shortest prefix of a ban is /16"),
    ],
)
def test_what_cannot_be_banned_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}$"):
        banned_network(text)


def test_a_ban_covers_its_addresses_until_it_is_over() -> None:
    found = listed(Ban("203.0.113.0/24", 10.0), Ban("2001:db8::/64", 10.0), Ban("192.0.2.1", 5.0))
    for address in ("203.0.113.0", "203.0.113.255", "2001:db8::1", "::ffff:203.0.113.9"):
        ban = found.find(address, 9.9)
        assert ban is not None
        assert ban.until == 10.0
        assert found.find(address, 10.0) is None
    for address in ("203.0.114.0", "2001:db8:0:1::", "192.0.2.2", "unix:", "::203.0.113.1"):
        assert found.find(address, 1.0) is None
    assert [ban.network for ban in found.active(5.0)] == ["203.0.113.0/24", "2001:db8::/64"]
    assert len(found) == 3
    found.expire(5.0)
    assert (len(found), repr(found)) == (2, "BanList(2)")


def test_a_shorter_prefix_covers_where_a_longer_one_is_over() -> None:
    found = listed(Ban("192.0.2.1", 5.0), Ban("192.0.2.0/24", 9.0))
    assert found.find("192.0.2.1", 6.0) == Ban("192.0.2.0/24", 9.0)


def test_bans_by_some_rules_can_be_left_out() -> None:
    found = listed(Ban("192.0.2.1", 5.0, rule="login"), Ban("192.0.2.0/24", 9.0))
    for left_out, network in (((), "192.0.2.1"), (("scan",), "192.0.2.1"), (("login",), "192.0.2.0/24")):
        ban = found.find("192.0.2.1", 1.0, left_out)
        assert ban is not None
        assert ban.network == network
    assert found.find("192.0.2.1", 1.0, ("login", "")) is None


def test_the_latest_ban_of_a_network_counts_and_one_that_is_over_ends_it() -> None:
    found = listed(Ban("192.0.2.1", 5.0), Ban("192.0.2.1", 9.0))
    assert found.find("192.0.2.1", 6.0) is not None
    found.put(Ban("192.0.2.1", 0.0), 6.0)
    assert found.find("192.0.2.1", 6.0) is None
    assert len(found) == 0


def test_all_bans_are_replaced_together() -> None:
    found = listed(Ban("192.0.2.1", 5.0), Ban("192.0.2.2", 5.0))
    found.replace([Ban("192.0.2.2", 9.0), Ban("192.0.2.3", 9.0), Ban("192.0.2.4", 1.0)], 2.0)
    assert sorted(ban.network for ban in found.active(2.0)) == ["192.0.2.2", "192.0.2.3"]
    assert found.find("192.0.2.1", 2.0) is None


def test_what_is_no_network_is_ignored() -> None:
    assert len(listed(Ban("junk", 9.0))) == 0


def test_beyond_the_bound_the_oldest_by_a_rule_goes_and_else_the_oldest() -> None:
    found = BanList()
    found.put(Ban("10.0.0.1", 9.0, actor="alice"), 0.0)
    found.put(Ban("10.0.0.2", 9.0, rule="login"), 0.0)
    for number in range(bans.MAX_BANS - 2):
        found.put(Ban(f"11.{number >> 16}.{number >> 8 & 255}.{number & 255}", 9.0, actor="alice"), 0.0)
    found.put(Ban("10.0.0.3", 9.0, actor="alice"), 0.0)
    assert [found.find(f"10.0.0.{n}", 0.0) is not None for n in (1, 2, 3)] == [True, False, True]
    found.put(Ban("10.0.0.4", 9.0, actor="alice"), 0.0)
    assert [found.find(f"10.0.0.{n}", 0.0) is not None for n in (1, 3, 4)] == [False, True, True]
    assert len(found) == bans.MAX_BANS


test_any_network_is_rejected_or_covered = property_test("ban")


@pytest.mark.parametrize(
    ("ban", "giver"),
    [
        (Ban("192.0.2.1", 9.0, actor="alice"), "alice"),
        (Ban("192.0.2.1", 9.0, 0.0, "web1", "", "scan"), "the rule scan"),
    ],
)
def test_a_ban_is_given_by_an_operator_or_by_a_rule(ban: Ban, giver: str) -> None:
    assert ban.giver == giver
