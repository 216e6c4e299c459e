"""The operations on bans."""

from __future__ import annotations

from typing import Any

import pytest

from lbflask.control.metrics import ban_samples
from lbflask.core.bans import DEFAULT_DURATION, MAX_DURATION, Ban
from lbflask.telemetry.metrics.definitions import BANS
from tests.control.servers import ALICE, GRAFANA, TOKENS, Counter


def ban(counter: Counter, network: str, status: int = 200, **more: Any) -> Any:
    return counter.act("POST", "/bans", status, json={"network": network, **more})


def test_a_ban_is_listed_with_its_operator_until_it_ends() -> None:
    counter = Counter()
    assert counter.get("/bans")["bans"] == []
    done = ban(counter, "203.0.113.7/24", seconds=60, reason="scraper")
    assert (done["changed"], done["network"]) == (True, "203.0.113.0/24")
    counter.clock.advance(1)
    ban(counter, "2001:DB8::1")
    latest, first = counter.get("/bans")["bans"]
    assert (latest["network"], latest["until"]) == ("2001:db8::1", counter.clock() + DEFAULT_DURATION)
    assert (first["network"], first["until"]) == ("203.0.113.0/24", counter.clock() + 59)
    assert (first["reason"], first["rule"]) == ("scraper", "")
    assert first["who"].endswith(" (127.0.0.1)")
    ended = counter.act("POST", "/bans/end", json={"network": "203.0.113.0/24"})
    assert (ended["changed"], ended["until"]) == (True, 0)
    assert not counter.act("POST", "/bans/end", json={"network": "203.0.113.0/24"})["changed"]
    assert [one["network"] for one in counter.get("/bans")["bans"]] == ["2001:db8::1"]
    counter.clock.advance(DEFAULT_DURATION)
    assert counter.get("/bans")["bans"] == []


def test_each_change_is_an_event() -> None:
    counter = Counter(admin={"tokens": TOKENS})
    counter.act("POST", "/bans", token=ALICE, json={"network": "192.0.2.1", "seconds": 60, "reason": "why"})
    counter.act("POST", "/bans/end", token=ALICE, json={"network": "192.0.2.1"})
    counter.act("POST", "/bans/end", token=ALICE, json={"network": "192.0.2.1"})
    last, first = counter.facts.read_events(9)
    assert (first.kind, first.what, first.reason) == ("ban", "ban", "192.0.2.1 for 60 s: why")
    assert (last.what, last.reason, last.actor) == ("unban", "192.0.2.1", "alice (127.0.0.1)")


@pytest.mark.parametrize("network", ["example.com", "0.0.0.0/0", "", "x" * 65])
def test_what_is_no_network_is_refused(network: str) -> None:
    assert "network" in ban(Counter(), network, 422)["detail"]


@pytest.mark.parametrize("seconds", [0, MAX_DURATION + 1, "60", 1.5])
def test_what_is_no_duration_is_refused(seconds: Any) -> None:
    assert "seconds" in ban(Counter(), "192.0.2.1", 422, seconds=seconds)["detail"]


def test_readers_may_list_and_operators_may_ban() -> None:
    counter = Counter(admin={"tokens": TOKENS})
    assert counter.ask("GET", "/bans", GRAFANA).status_code == 200
    assert counter.ask("POST", "/bans", GRAFANA, json={"network": "192.0.2.1"}).status_code == 403


def test_without_the_store_what_the_worker_knows_is_listed_and_nothing_changes() -> None:
    counter = Counter()
    counter.facts.write_ban(Ban("192.0.2.1", 0.0, actor="bob"), 600)
    counter.fleet.refresh()
    counter.store.lose()
    counter.fleet.degrade("gone")
    assert [one["network"] for one in counter.get("/bans")["bans"]] == ["192.0.2.1"]
    assert ban(counter, "192.0.2.2", 503)["status"] == 503


def test_the_state_has_the_number_of_bans_and_the_newest_ones() -> None:
    counter = Counter()
    assert counter.get("/state")["bans"] == {"count": 0, "newest": []}
    for number in range(1, 8):
        counter.clock.advance(1)
        ban(counter, f"192.0.2.{number}", seconds=600, reason="<b>")
    counter.fleet.refresh()
    bans = counter.get("/state")["bans"]
    assert bans["count"] == 7
    assert [one["network"] for one in bans["newest"]] == [f"192.0.2.{number}" for number in (7, 6, 5, 4, 3)]
    assert bans["newest"][0] == counter.get("/bans")["bans"][0]


def test_the_number_of_bans_is_a_metric() -> None:
    counter = Counter()

    def samples() -> dict[tuple[str, ...], float]:
        counter.fleet.refresh()
        return {labels: value for metric, labels, value in ban_samples(counter.fleet) if metric is BANS}

    assert samples() == {("operator",): 0, ("rule",): 0}
    ban(counter, "192.0.2.1")
    counter.facts.write_ban(Ban("192.0.2.2", 0.0, actor="web1", rule="login"), 600)
    counter.facts.write_ban(Ban("192.0.2.3", 0.0, actor="web1", rule="login"), 600)
    assert samples() == {("operator",): 1, ("rule",): 2}
