"""Bans of the fleet, and the answers that rules count. Kept by every store."""

from __future__ import annotations

import json

import pytest

from devtools.wait import eventually
from lbflask.core.access_list import AccessList
from lbflask.core.bans import MAX_DURATION, Ban, BanRule
from lbflask.store.fleet_records import parse_bans
from lbflask.store.keys import FleetKeys
from lbflask.store.ports import CONVICTED_FOR, FLEET
from tests.store import stores
from tests.store.stores import Rig

KEYS = FleetKeys("test")


def rule(count: int = 3, within: float = 60.0, name: str = "login") -> BanRule:
    return BanRule(name, frozenset({401}), count, within, 600, AccessList([], []))


def active(rig: Rig, known: int = 0) -> list[str]:
    read = rig.other.read_bans(known)
    return sorted(ban.network for ban in read.bans if ban.until > read.moment / 1_000_000)


def test_a_network_is_banned_until_it_is_not(rig: Rig) -> None:
    assert active(rig) == []
    assert rig.store.write_ban(Ban("203.0.113.0/24", 0.0, actor="alice: größer", reason="a: b"), 600)
    assert rig.store.write_ban(Ban("2001:db8::1", 0.0, actor="bob"), 60)
    (one, two) = sorted(rig.other.read_bans(0).bans, key=lambda ban: ban.network)
    assert (two.network, two.actor, two.reason, two.rule) == ("203.0.113.0/24", "alice: größer", "a: b", "")
    assert (two.until, two.since) == (pytest.approx(rig.now() + 600, abs=5), pytest.approx(rig.now(), abs=5))
    assert (one.network, one.until) == ("2001:db8::1", pytest.approx(rig.now() + 60, abs=5))
    assert rig.other.write_ban(Ban("203.0.113.0/24", 0.0), 0)
    assert not rig.other.write_ban(Ban("203.0.113.0/24", 0.0), 0)
    assert not rig.other.write_ban(Ban("192.0.2.1", 0.0), 0)
    assert active(rig) == ["2001:db8::1"]


def test_the_latest_word_of_an_operator_counts_and_a_rule_does_not_change_it(rig: Rig) -> None:
    assert rig.store.write_ban(Ban("192.0.2.1", 0.0, actor="alice"), 60)
    assert rig.store.write_ban(Ban("192.0.2.1", 0.0, actor="bob"), 600)
    assert not rig.other.write_ban(Ban("192.0.2.1", 0.0, rule="login"), 6000)
    (ban,) = rig.other.read_bans(0).bans
    assert (ban.actor, ban.rule, ban.until) == ("bob", "", pytest.approx(rig.now() + 600, abs=5))


def test_a_ban_ends_by_itself_and_a_rule_can_give_it_again(rig: Rig) -> None:
    assert rig.store.write_ban(Ban("192.0.2.1", 0.0, rule="login"), 1)
    assert active(rig) == ["192.0.2.1"]
    rig.let_pass(1.0)
    assert active(rig) == []
    assert rig.store.write_ban(Ban("192.0.2.1", 0.0, rule="login"), 60)
    assert active(rig) == ["192.0.2.1"]


def test_a_reader_gets_the_changes_since_it_read_last_also_ends(rig: Rig) -> None:
    rig.store.write_ban(Ban("192.0.2.1", 0.0), 600)
    rig.let_pass(0.01)
    first = rig.other.read_bans(0)
    assert (first.whole, [ban.network for ban in first.bans]) == (True, ["192.0.2.1"])
    rig.let_pass(0.01)
    second = rig.other.read_bans(first.moment)
    assert (second.whole, list(second.bans)) == (False, [])
    rig.store.write_ban(Ban("192.0.2.2", 0.0), 600)
    rig.store.write_ban(Ban("192.0.2.1", 0.0), 0)
    third = rig.other.read_bans(second.moment)
    assert not third.whole
    assert {ban.network: ban.until > rig.now() for ban in third.bans} == {"192.0.2.1": False, "192.0.2.2": True}
    assert rig.other.read_bans(third.moment + 10_000_000_000).whole  # of a clock that was set back
    assert rig.other.read_bans(1).whole  # long ago


def test_a_change_is_announced(rig: Rig) -> None:
    watch = rig.other.watch_changes([FLEET])
    try:

        def ban_and_wait() -> set[str]:
            rig.store.write_ban(Ban("192.0.2.1", 0.0), 60)
            return set(watch.wait(0.1))

        eventually(lambda: ban_and_wait() == {FLEET}, "the message")
    finally:
        watch.close()


def test_as_many_answers_within_the_time_of_a_rule_convict_and_are_forgotten(rig: Rig) -> None:
    found = [rig.store.count_offence(rule(), "192.0.2.1"), rig.other.count_offence(rule(), "192.0.2.1")]
    assert found == [False, False]
    assert not rig.store.count_offence(rule(), "192.0.2.2")
    assert not rig.store.count_offence(rule(name="other"), "192.0.2.1")
    assert rig.other.count_offence(rule(), "192.0.2.1")
    assert rig.store.count_offence(rule(), "192.0.2.1")  # until the ban has reached all workers
    assert rig.store.count_offence(rule(count=1), "192.0.2.3")


def test_a_conviction_is_forgotten_soon() -> None:
    with stores.memory() as rig:
        assert [rig.store.count_offence(rule(), "a") for _ in range(4)] == [False, False, True, True]
        rig.let_pass(CONVICTED_FOR)
        assert [rig.store.count_offence(rule(), "a") for _ in range(3)] == [False, False, True]


def test_answers_before_the_time_of_a_rule_do_not_count(rig: Rig) -> None:
    short = rule(within=0.2)
    assert not rig.store.count_offence(short, "192.0.2.1")
    assert not rig.store.count_offence(short, "192.0.2.1")
    rig.let_pass(0.3)
    assert not rig.store.count_offence(short, "192.0.2.1")


def test_the_window_of_a_rule_slides() -> None:
    with stores.memory() as rig:
        found = []
        for _ in range(5):
            found.append(rig.store.count_offence(rule(within=60.0), "a"))
            rig.let_pass(31.0)
        assert found == [False] * 5
        assert [rig.store.count_offence(rule(within=60.0), "a") for _ in range(2)] == [False, True]


def test_what_is_no_ban_is_ignored_and_the_next_writer_replaces_it(rig: Rig) -> None:
    if rig.client is None:
        pytest.skip("the memory has no records")
    details = json.dumps({"actor": "x", "reason": "", "rule": ""})
    rig.client.hset(
        KEYS.bans,
        mapping={"junk": "junk", "192.0.2.1/24": f"9999999999999:m:1:{details}", "10.0.0.1": "9999999999999:m:1:[]"},
    )
    rig.client.hset(KEYS.bans, "10.0.0.2", f"999999999999999:m:1:{details}")
    (ban,) = rig.other.read_bans(0).bans
    assert (ban.network, ban.until) == ("10.0.0.2", pytest.approx(rig.now() + MAX_DURATION, abs=5))
    for junk in (KEYS.bans, KEYS.ban_changes):
        rig.client.delete(KEYS.bans, KEYS.ban_changes)
        rig.client.set(junk, "junk")
        assert list(rig.other.read_bans(0).bans) == []
        assert list(rig.other.read_bans(int(rig.now() * 1_000_000)).bans) == []
        assert rig.store.write_ban(Ban("192.0.2.1", 0.0), 600)
        assert active(rig) == ["192.0.2.1"]
    assert not rig.store.count_offence(rule(), "192.0.2.1")
    for key in rig.client.keys("*offences*"):
        rig.client.set(key, "junk")
    assert not rig.store.count_offence(rule(), "192.0.2.1")


def test_beyond_the_bound_the_oldest_by_a_rule_goes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("lbflask.store.redis", "lbflask.store.memory_bans"):
        monkeypatch.setattr(f"{module}.MAX_BANS", 3)
    rig.store.write_ban(Ban("192.0.2.1", 0.0, actor="alice"), 600)
    for number in (2, 3, 4):
        rig.store.write_ban(Ban(f"192.0.2.{number}", 0.0, rule="login"), 600)
        rig.let_pass(0.01)
    assert active(rig) == ["192.0.2.1", "192.0.2.3", "192.0.2.4"]


def test_texts_of_bans_cannot_command_a_terminal() -> None:
    record = b'9000:m:1:{"actor":"\\u001b[2J","reason":7,"rule":"' + b"x" * 5000 + b'"}'
    (ban,) = parse_bans(1.0, [("192.0.2.1", record)])
    assert "\x1b" not in ban.actor
    assert (ban.reason, len(ban.rule)) == ("7", 1000)
    assert parse_bans(1.0, [("192.0.2.1", b"9000:m:1:" + b"[" * 9000)]) == []
