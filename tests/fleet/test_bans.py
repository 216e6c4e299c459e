"""What one worker knows of bans, with the store and without it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from devtools.wait import eventually
from lbflask.core.access_list import AccessList
from lbflask.core.bans import Ban, BanRule
from lbflask.fleet import follower
from lbflask.fleet.fleet import Fleet
from tests.fleet.stores import FlakyStore

RULE = BanRule("login", frozenset({401, 403}), 3, 60.0, 600, AccessList([], []))


def test_a_ban_reaches_a_worker_by_a_message_and_so_does_its_end(
    store: FlakyStore, started: Callable[..., Fleet], never_polls: None
) -> None:
    fleet = started(store)
    changes: list[bool] = []
    fleet.bans.set_listener(lambda: changes.append(fleet.bans.are_there))
    eventually(store.watched, "it follows the store")
    assert fleet.bans.find("192.0.2.1") is None
    store.facts.write_ban(Ban("192.0.2.0/24", 0.0, actor="alice"), 600)
    store.tell("")
    eventually(lambda: fleet.bans.find("192.0.2.1"), "the ban")
    assert [ban.actor for ban in fleet.bans.active()] == ["alice"]
    store.facts.write_ban(Ban("192.0.2.0/24", 0.0), 0)
    store.tell("")
    eventually(lambda: fleet.bans.find("192.0.2.1") is None, "its end")
    eventually(lambda: changes[-1] is False, "the listener knows")
    assert True in changes


def test_a_ban_without_its_message_holds_after_the_next_poll_and_so_does_its_end(
    store: FlakyStore, started: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "POLL_EVERY", 0.02)
    monkeypatch.setattr(follower, "POLL_DRAINS_EVERY", 0.02)
    fleet = started(store)
    eventually(store.watched, "it follows the store")
    store.facts.write_ban(Ban("192.0.2.0/24", 0.0), 600)
    eventually(lambda: fleet.bans.find("192.0.2.1"), "the ban")
    store.facts.write_ban(Ban("192.0.2.0/24", 0.0), 0)
    eventually(lambda: fleet.bans.find("192.0.2.1") is None, "its end")


def test_a_worker_that_starts_later_knows_the_bans(store: FlakyStore, started: Callable[..., Fleet]) -> None:
    store.facts.write_ban(Ban("2001:db8::/64", 0.0), 600)
    assert started(store).bans.find("2001:db8::7") is not None


def test_as_many_answers_ban_a_client_at_all_workers_once(store: FlakyStore, started: Callable[..., Fleet]) -> None:
    one, two = started(store), started(store)
    for fleet in (one, two, one):
        assert fleet.bans.find("2001:db8::1") is None
        fleet.bans.count(RULE, "2001:db8::1")
    assert one.bans.find("2001:db8::2") is not None
    eventually(lambda: two.bans.find("2001:db8::2"), "the other worker knows")
    (ban,) = store.facts.read_bans(0).bans
    assert (ban.network, ban.rule, ban.reason) == (
        "2001:db8::/64", "login", "3 answers of 401, 403 within 60 s",
    )  # fmt: skip
    (event,) = store.facts.read_events(9)
    assert (event.kind, event.what) == ("ban", "ban")
    assert event.reason.startswith("2001:db8::/64 for 600 s by the rule login")
    counted = len(store.asked("count_offence"))
    one.bans.count(RULE, "2001:db8::1")  # was in flight
    assert len(store.asked("count_offence")) == counted


def test_a_worker_that_has_not_read_the_ban_yet_convicts_with_the_next_answer(store: FlakyStore) -> None:
    one, two = Fleet(store, ["web"]), Fleet(store, ["web"])
    for _ in range(RULE.count):
        one.bans.count(RULE, "192.0.2.1")
    two.bans.count(RULE, "192.0.2.1")
    assert two.bans.find("192.0.2.1") is not None
    assert len(store.facts.read_events(9)) == 1


def test_without_the_store_bans_hold_and_rules_count_what_the_worker_sees(
    store: FlakyStore, started: Callable[..., Fleet]
) -> None:
    store.facts.write_ban(Ban("192.0.2.1", 0.0), 600)
    fleet = started(store)
    store.lose()
    eventually(lambda: fleet.degraded, "the store is lost")
    assert fleet.bans.find("192.0.2.1") is not None
    for _ in range(RULE.count):
        assert fleet.bans.find("192.0.2.2") is None
        fleet.bans.count(RULE, "192.0.2.2")
    assert fleet.bans.find("192.0.2.2") is not None
    store.find()
    eventually(lambda: not fleet.degraded, "the store is back")
    assert fleet.bans.find("192.0.2.1") is not None
    assert fleet.bans.find("192.0.2.2") is not None


def test_a_store_that_was_emptied_ends_no_ban(store: FlakyStore, started: Callable[..., Fleet]) -> None:
    store.facts.write_ban(Ban("192.0.2.1", 0.0), 600)
    fleet = started(store)
    store.facts.empty()
    fleet.refresh()
    assert fleet.bans.find("192.0.2.1") is not None


def test_a_ban_that_is_over_is_none(store: FlakyStore, started: Callable[..., Fleet]) -> None:
    store.facts.write_ban(Ban("192.0.2.1", 0.0), 1)
    fleet = started(store)
    eventually(lambda: fleet.bans.find("192.0.2.1") is None, "its end")
    fleet.refresh()
    assert not fleet.bans.are_there
