"""Plans of requests: by the strategy, by a session, or by a probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.eligibility import Selection
from lbflask.core.model import (
    ActiveHealth,
    Backend,
    Ejection,
    Health,
    Mode,
    Override,
    Pool,
    Snapshot,
    StickyCookie,
)
from lbflask.core.planning import Plan, PoolPlanner, StaticFacts
from lbflask.core.sticky_cookie import Affinity, CookieRefusal
from lbflask.core.strategies import STRATEGIES
from tests.support.pools import backend

SECRET = "0123456789abcdef"
ABC = tuple(backend(name) for name in "abc")


class Facts:
    """Facts that a test changes, and what was asked of them."""

    def __init__(self, snapshot: Snapshot | None = None, ticket: int = 0) -> None:
        self.current = snapshot or Snapshot(1)
        self.next_ticket = ticket
        self.clock = 0.0
        self.in_flight: dict[str, int] = {}
        self.due: str | None = None
        self.unsafe_probes = False
        self.tickets = 0
        self.loads_read = 0
        self.selections: list[Selection] = []

    def snapshot(self) -> Snapshot:
        return self.current

    def now(self) -> float:
        return self.clock

    def ticket(self) -> int:
        self.tickets += 1
        self.next_ticket += 1
        return self.next_ticket - 1

    def loads(self) -> dict[str, int]:
        self.loads_read += 1
        return self.in_flight

    def probe(self, safe: bool) -> str | None:
        return self.due if safe or self.unsafe_probes else None

    def selected(self, pool_members: Sequence[Backend], snapshot: Snapshot, selection: Selection) -> None:
        assert snapshot is self.current
        assert {one.backend.id for one in selection.candidates} <= {one.id for one in pool_members}
        self.selections.append(selection)

    def cookie_refused(self, refusal: CookieRefusal) -> None:
        pass


def ids(plan: Plan) -> list[str]:
    return [one.id for one in plan.backends]


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_each_strategy_has_its_reason_and_asks_only_for_the_facts_that_it_needs(strategy: str) -> None:
    facts = Facts()
    planner = PoolPlanner(Pool("p", ABC, strategy), facts)
    plan = planner.plan(planner.key("192.0.2.1", "/", []), safe=True)
    assert plan.reason == STRATEGIES[strategy].reason == planner.reason
    assert sorted(ids(plan)) == ["a", "b", "c"]
    assert facts.tickets == STRATEGIES[strategy].by_turn
    assert facts.loads_read == STRATEGIES[strategy].by_loads


def test_a_request_without_its_key_goes_by_ticket() -> None:
    facts = Facts()
    planner = PoolPlanner(Pool("p", ABC, "consistent_hash", hash_key="header:x-user"), facts)
    assert planner.key("", "/", [("X-User", "ann")]) == "ann"
    assert not planner.takes_ticket("ann")
    assert planner.key("", "/", []) is None
    assert planner.takes_ticket(None)
    assert [ids(planner.plan(None, safe=True))[0] for _ in range(3)] == ["a", "b", "c"]
    assert facts.tickets == 3


def test_a_schedule_is_kept_until_the_snapshot_or_a_weight_changes() -> None:
    up = {"a": ActiveHealth(Health.UP, since=1.0), "b": ActiveHealth(Health.UP, since=100.0)}
    facts = Facts(Snapshot(1, up, 0.0, 10.0))
    facts.clock = 100.0
    planner = PoolPlanner(Pool("p", ABC[:2], slow_start=10.0), facts)
    first = planner.schedule()
    facts.clock = 100.5
    assert planner.schedule() is first
    facts.clock = 101.0
    assert planner.schedule() is not first
    assert len(facts.selections) == 2
    facts.current = replace(facts.current, version=2)
    second = planner.schedule()
    assert len(facts.selections) == 3
    facts.current = replace(facts.current, version=3)  # the same candidates
    assert planner.schedule() is second


def test_a_probe_goes_first_and_has_its_reason() -> None:
    facts = Facts(Snapshot(1, ejected={"b": Ejection(True, 1, 0.0, 10.0)}))
    facts.due = "b"
    planner = PoolPlanner(Pool("p", ABC), facts)
    plan = planner.plan(None, safe=True)
    assert (plan.reason, ids(plan)) == ("probe", ["b", "a", "c"])
    assert planner.plan(None, safe=False).reason == "turn"
    facts.due = "gone"
    assert ids(planner.plan(None, safe=True)) == ["a", "c"]


def test_a_probe_may_go_to_a_backend_that_discovery_found() -> None:
    facts = Facts(Snapshot(1, ejected={"d": Ejection(True, 1, 0.0, 10.0)}, discovered=(backend("d"),)))
    facts.due = "d"
    assert ids(PoolPlanner(Pool("p", ABC), facts).plan(None, safe=True)) == ["d", "a", "b", "c"]


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_only_strategies_that_hash_have_keys(strategy: str) -> None:
    planner = PoolPlanner(Pool("p", ABC, strategy), Facts())
    assert planner.has_key == (planner.key("192.0.2.1", "/", []) is not None) == (strategy == "consistent_hash")


def sticky(facts: Facts, *secrets: str) -> PoolPlanner:
    return PoolPlanner(Pool("p", ABC, sticky=StickyCookie("S", secrets=secrets)), facts)


def test_a_session_goes_first_and_takes_a_ticket_only_when_it_leaves() -> None:
    facts = Facts()
    facts.due, facts.unsafe_probes = "c", True
    planner = sticky(facts, SECRET)
    cookie = Affinity("p", [SECRET]).cookie("b", 0.0)
    found = planner.sticky_backend([cookie])
    assert found is not None
    plan = planner.plan(None, safe=True, sticky_backend=found)
    order = iter(plan.backends)
    assert (plan.reason, next(order).id, facts.tickets) == ("sticky", "b", 0)
    assert ([one.id for one in order], facts.tickets) == (["a", "c"], 1)  # and "c" is no probe


def test_sessions_end_with_their_backend_and_keep_one_that_drains() -> None:
    facts = Facts()
    planner = sticky(facts, SECRET)
    cookies = [Affinity("p", [SECRET]).cookie("b", 0.0)]
    facts.current = Snapshot(2, overrides={"b": Override(Mode.DRAINING)})
    drained = planner.sticky_backend(cookies)
    assert drained is not None
    assert drained.id == "b"
    facts.current = Snapshot(3, overrides={"b": Override(Mode.OFF)})
    assert planner.sticky_backend(cookies) is None
    assert planner.sticky_backend([]) is None


def test_without_a_secret_no_cookie_is_accepted() -> None:
    facts = Facts()
    planner = sticky(facts)
    cookies = [Affinity("p", [SECRET]).cookie("b", 0.0)]
    assert planner.sticky_backend(cookies) is None
    facts.current = Snapshot(2, secret=SECRET)
    assert planner.sticky_backend(cookies) is not None
    facts.current = Snapshot(3, secret=SECRET)  # the same backends and the same secret
    assert planner.sticky_backend(cookies) is not None
    facts.current = Snapshot(4)
    assert planner.sticky_backend(cookies) is None


def test_a_pool_without_sessions_has_no_sticky_backend() -> None:
    assert PoolPlanner(Pool("p", ABC), Facts()).sticky_backend(["x"]) is None


def test_static_facts_count_tickets_and_know_no_loads_and_no_probes() -> None:
    facts = StaticFacts(Snapshot(1, now=5.0), 7)
    assert (facts.snapshot().version, facts.now(), facts.ticket(), facts.ticket()) == (1, 5.0, 7, 8)
    assert (dict(facts.loads()), facts.probe(True)) == ({}, None)
    assert StaticFacts(Snapshot(1)).ticket() == 0


def test_planners_and_sessions_show_their_state_and_no_secret() -> None:
    planner = sticky(Facts(), SECRET)
    assert repr(planner) == "PoolPlanner(p: round_robin, 0 candidates)"
    planner.schedule()
    assert repr(planner) == "PoolPlanner(p: round_robin, 3 candidates)"
    assert repr(planner.sessions) == "SessionTable(p, S: 3 backends)"


def test_a_poll_that_finds_nothing_new_selects_nothing_anew() -> None:
    up = {name: ActiveHealth(Health.UP) for name in "abc"}
    facts = Facts(Snapshot(1, up, 0.0, 10.0, now=1000.0))
    planner = PoolPlanner(Pool("p", ABC), facts)
    planner.schedule()
    facts.current = replace(facts.current, now=1001.0, heartbeat=1.0)
    planner.schedule()
    first, second = facts.selections
    assert second is first
    facts.current = replace(facts.current, active=up | {"a": ActiveHealth(Health.DOWN)})
    planner.schedule()
    assert facts.selections[2] is not first
    assert [one.id for one in planner.serving()] == ["b", "c"]


CHANGES = st.one_of(
    st.fixed_dictionaries(
        {"active": st.dictionaries(st.sampled_from("abc"), st.sampled_from(Health).map(ActiveHealth))}
    ),
    st.fixed_dictionaries({"heartbeat": st.sampled_from([None, 0.0, 29.9, 30.1])}),
    st.fixed_dictionaries({"overrides": st.dictionaries(st.sampled_from("abc"), st.sampled_from(Mode).map(Override))}),
    st.fixed_dictionaries(
        {"ejected": st.dictionaries(st.sampled_from("abc"), st.just(Ejection(True, 1, 900.0, 1e6)), max_size=3)}
    ),
    st.fixed_dictionaries({"discovered": st.sampled_from([(), (backend("d"),)])}),
    st.fixed_dictionaries({"now": st.floats(1000, 2000)}),
)


@given(st.lists(CHANGES, max_size=8))
def test_after_any_changes_a_planner_plans_like_a_new_one(changes: list[dict[str, object]]) -> None:
    facts = Facts(Snapshot(1, {name: ActiveHealth(Health.UP) for name in "abc"}, 0.0, 10.0, now=1000.0))
    pool = Pool("p", ABC, slow_start=300.0)
    planner = PoolPlanner(pool, facts)
    for change in changes:
        facts.current = replace(facts.current, **change)  # type: ignore[arg-type]
        facts.clock = facts.current.now
        new = PoolPlanner(pool, facts)
        assert (planner.serving(), planner.selection) == (new.serving(), new.selection)
