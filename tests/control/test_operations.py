"""Actions of operators with their reasons, and the last serving backend of a pool."""

from __future__ import annotations

from typing import Any

import pytest

from lbflask.core.model import Mode, Override
from lbflask.core.overrides import LAST_SERVING
from tests.control.servers import ALICE, DOWN, TOKENS, UP, Counter

FIRST = "/pools/default/backends/10.0.0.1:80"
SECOND = "/pools/default/backends/two"
DRAINED = Override(Mode.DRAINING)


def latest(counter: Counter) -> tuple[str, str, str]:
    event = counter.facts.read_events(1)[0]
    return event.what, event.reason, event.actor


def found(counter: Counter, check: str) -> list[str]:
    return [one["finding"] for one in counter.get("/doctor", ALICE)["findings"] if one["check"] == check]


class TestReasons:
    @pytest.fixture
    def counter(self) -> Counter:
        counter = Counter(admin={"tokens": TOKENS})
        counter.check(**{"10.0.0.1_80": UP, "two": UP})
        return counter

    @pytest.mark.parametrize(("action", "verb"), [("drain", "drained"), ("off", "switched off")])
    def test_a_mode_is_shown_with_its_author_and_reason(self, counter: Counter, action: str, verb: str) -> None:
        view = counter.act("POST", f"{SECOND}/{action}", token=ALICE, json={"reason": "ticket 123"})["backend"]
        shown = f"{verb} by alice (127.0.0.1) since 22:13 UTC: ticket 123"
        assert view["reason"] == shown
        assert view["mode_note"] == {"who": "alice (127.0.0.1)", "at": counter.clock(), "reason": "ticket 123"}
        assert latest(counter) == (action, "ticket 123", "alice (127.0.0.1)")
        assert shown in found(counter, "backend two")

    def test_a_weight_and_a_mode_keep_their_own_reasons(self, counter: Counter) -> None:
        counter.act("POST", f"{SECOND}/drain", token=ALICE, json={"reason": "ticket"})
        view = counter.act("PUT", f"{SECOND}/weight", token=ALICE, json={"weight": 5, "reason": "canary"})["backend"]
        assert (view["mode_note"]["reason"], view["weight_note"]["reason"]) == ("ticket", "canary")
        assert latest(counter)[:2] == ("weight", "weight 5: canary")
        view = counter.act("POST", f"{SECOND}/enable", token=ALICE)["backend"]
        assert view["mode_note"] is None
        assert view["reason"] == "connected; weight 5 set by alice (127.0.0.1) since 22:13 UTC: canary"
        counter.act("PUT", f"{SECOND}/weight", token=ALICE, json={"weight": None})
        assert latest(counter)[:2] == ("weight", "the configured weight")

    def test_a_removal_is_shown_with_its_reason(self, counter: Counter) -> None:
        counter.act("DELETE", SECOND, token=ALICE, json={"reason": "sold"})
        pool = counter.get("/pools/default", ALICE)
        assert (pool["removed"], pool["removal_notes"]["two"]["reason"]) == (["two"], "sold")
        assert found(counter, "backend two") == ["removed by alice (127.0.0.1) since 22:13 UTC: sold; it is configured"]

    def test_another_reason_replaces_the_one_before(self, counter: Counter) -> None:
        for reason, changed in (("a", True), ("a", False), ("", False), ("b", True)):
            done = counter.act("POST", f"{SECOND}/drain", token=ALICE, json={"reason": reason})
            assert done["changed"] == changed
        assert done["backend"]["mode_note"]["reason"] == "b"

    def test_a_record_of_an_earlier_version_has_no_author(self, counter: Counter) -> None:
        assert counter.facts.write_override("default", "two", None, DRAINED)
        assert counter.get(SECOND, ALICE)["reason"] == "drained by an operator"
        assert counter.act("POST", f"{SECOND}/drain", token=ALICE)["changed"] is False

    @pytest.mark.parametrize(
        ("method", "path", "body", "event"),
        [
            ("POST", "/pools/default/backends", {"url": "http://10.0.0.9:80"}, "http://10.0.0.9:80, weight 1: why"),
            ("POST", "/instances/drain", {"instance": "one", "seconds": 60}, "one for 60 s: why"),
            ("PUT", "/debug", {"seconds": 60}, "on for 60 s at one: why"),
            ("DELETE", "/debug", {}, "off at one: why"),
            ("POST", "/reload", {}, "backends: why"),
        ],
    )
    def test_every_action_takes_a_reason(
        self, counter: Counter, method: str, path: str, body: dict[str, Any], event: str
    ) -> None:
        counter.act(method, path, token=ALICE, json={**body, "reason": "why"})
        assert latest(counter)[1] == event

    def test_an_end_of_an_ejection_takes_a_reason(self, counter: Counter) -> None:
        counter.eject(counter.running.pools["default"].backends[1])
        counter.act("POST", f"{SECOND}/uneject", token=ALICE, json={"reason": "repaired"})
        assert latest(counter)[:2] == ("uneject", "repaired")

    def test_an_instance_shows_the_reason_of_its_drain(self, counter: Counter) -> None:
        body = {"instance": "one", "seconds": 60, "reason": "kernel"}
        drain = counter.act("POST", "/instances/drain", token=ALICE, json=body)["instance"]["drain"]
        assert (drain["since"], drain["reason"]) == (counter.clock(), "kernel")
        shown = "its /health responds 503: drained by alice (127.0.0.1) since 22:13 UTC: kernel"
        assert found(counter, "instance one") == [shown]

    @pytest.mark.parametrize("reason", ["x" * 201, "a\nb", "a\u202eb", 7, None])
    def test_an_invalid_reason_changes_nothing(self, counter: Counter, reason: Any) -> None:
        assert "reason" in counter.act("POST", f"{SECOND}/drain", 422, token=ALICE, json={"reason": reason})["detail"]
        assert counter.overrides() == {}


class TestLastServingBackend:
    ACTIONS = (
        ("POST", "/drain", {}),
        ("POST", "/off", {}),
        ("PUT", "/weight", {"weight": 0}),
        ("DELETE", "", {}),
    )

    @pytest.mark.parametrize(("method", "path", "body"), ACTIONS)
    def test_it_stays_unless_forced(self, method: str, path: str, body: dict[str, Any]) -> None:
        counter = Counter()
        counter.check(**{"10.0.0.1_80": UP, "two": DOWN})
        problem = counter.act(method, FIRST + path, 409, json=body)
        assert (problem["type"], problem["detail"]) == (
            LAST_SERVING,
            "no other backend of pool 'default' serves: clients would get 503",
        )
        assert counter.overrides() == {}
        assert counter.act(method, FIRST + path, json={**body, "force": True})["changed"]
        counter.act(method, SECOND + path, json=body)  # one that does not serve is no loss

    def test_the_last_sound_one_stays_too(self) -> None:
        counter = Counter()
        counter.check(**{"10.0.0.1_80": UP, "two": UP})
        counter.eject(counter.running.pools["default"].backends[1])
        detail = counter.act("POST", f"{FIRST}/drain", 409)["detail"]
        assert detail.endswith(" is sound: clients would get one that failed or is unchecked")

    def test_another_that_leaves_meanwhile_is_seen(self) -> None:
        """Between the decision and the write the other backend goes down, which changes the version of the pool."""
        counter = Counter()
        counter.check(**{"10.0.0.1_80": UP, "two": UP})
        write = counter.store.write_override

        def late(*arguments: Any, **options: Any) -> bool:
            counter.store.write_override = write  # type: ignore[method-assign]
            counter.check(**{"10.0.0.1_80": UP, "two": DOWN})
            return write(*arguments, **options)

        counter.store.write_override = late  # type: ignore[method-assign]
        assert counter.act("POST", f"{FIRST}/drain", 409)["type"] == LAST_SERVING
        assert counter.overrides() == {}
