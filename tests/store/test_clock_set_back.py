"""The store's clock is set back, as by a restore or a fail-over to a slow machine: nothing stands still until it has
caught up, in no store.

To a real server it looks the same when all moments that it holds are put forward.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import redis

from lbflask.core import ejection, slow_start
from lbflask.core.clock_skew import SLACK
from lbflask.core.ejection import EjectionPolicy, FailureReport
from lbflask.core.eligibility import checker_speaks, is_out
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Backend, Health, Mode, Override, Pool
from lbflask.core.rate_limit import RateLimit
from lbflask.core.slots import BackendSlots, SlotDemand
from lbflask.store.keys import PoolKeys
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import DEAD_AFTER, Beat, HealthWrite
from tests.store.stores import Rig

POOL = "web"
KEYS = PoolKeys("test", POOL)
RULE = EjectionPolicy(("a", "b"), failures=2, window=0.2, duration=0.05, max_duration=0.1)
STEP = 3600.0
A = Backend("a", "a", 80, "http://a:80")


def set_back(rig: Rig) -> None:
    if isinstance(rig.store, MemoryStore):
        rig.let_pass(-STEP)
        return
    assert rig.client is not None
    for key in rig.client.scan_iter("{test*"):
        left = rig.client.pttl(key)
        _put_forward(rig.client, key)
        if left > 0:
            rig.client.pexpire(key, left + int(STEP * 1000))


def _put_forward(client: redis.Redis, key: bytes) -> None:
    if client.type(key) == b"hash":
        for field, value in client.hgetall(key).items():
            client.hset(key, field, _later(value))
    elif client.type(key) == b"string" and key not in (KEYS.ticket.encode(), KEYS.epoch.encode()):
        client.set(key, _later(client.get(key)), keepttl=True)


def _later(value: bytes) -> bytes:
    """The value with its moments, by their number of digits: of microseconds, milliseconds, and in records of seconds.

    What is no moment has fewer digits here.
    """
    value = re.sub(rb"\d{16}", lambda found: b"%d" % (int(found[0]) + int(STEP * 1e6)), value)
    value = re.sub(rb"(?<!\d)\d{13}(?!\d)", lambda found: b"%d" % (int(found[0]) + int(STEP * 1e3)), value)
    seconds = rb'("since":|"until":)(\d{10}(?:\.\d+)?)'
    return re.sub(seconds, lambda found: found[1] + b"%.3f" % (float(found[2]) + STEP), value)


def test_a_bucket_fills_again(rig: Rig) -> None:
    limit = RateLimit("api", 1, 1, 1)
    assert rig.store.take_token(limit, "a").passed
    set_back(rig)
    assert not rig.store.take_token(limit, "a").passed
    rig.let_pass(1.01)
    assert rig.store.take_token(limit, "a").passed


def test_a_lead_is_free_when_its_lease_would_have_run_out(rig: Rig) -> None:
    assert rig.store.hold_lease(POOL, "dead", 3.0)
    set_back(rig)
    lease = rig.store.hold_lease(POOL, "next", 3.0)
    assert lease is not None
    assert rig.store.write_active(POOL, HealthWrite(lease.epoch, {}, interval=1))


def test_a_leader_that_lives_keeps_its_lead(rig: Rig) -> None:
    before = rig.store.hold_lease(POOL, "leader", 3.0)
    set_back(rig)
    after = rig.store.hold_lease(POOL, "leader", 3.0)
    assert before is not None
    assert after is not None
    assert after.epoch == before.epoch
    assert rig.store.hold_lease(POOL, "next", 3.0) is None


def test_a_later_epoch_stays_later(rig: Rig) -> None:
    before = rig.store.hold_lease(POOL, "dead", 3.0)
    set_back(rig)
    after = rig.store.hold_lease(POOL, "next", 3.0)
    assert before is not None
    assert after is not None
    assert after.epoch > before.epoch


def test_the_right_to_probe_runs_out(rig: Rig) -> None:
    assert rig.store.hold_probe(POOL, "dead", 5.0)
    set_back(rig)
    assert rig.store.hold_probe(POOL, "next", 5.0)


def test_a_window_of_failures_ends(rig: Rig) -> None:
    rig.store.count_failures(POOL, "a", FailureReport(1, 1, 1), RULE)
    set_back(rig)
    assert not rig.store.count_failures(POOL, "a", FailureReport(1, 1, 1), RULE), "that is another window"


def test_an_ejection_ends(rig: Rig) -> None:
    assert rig.store.count_failures(POOL, "a", FailureReport(2, 2, 2), RULE)
    set_back(rig)
    read = rig.store.read_snapshot(POOL, NOTHING_KNOWN)
    assert ejection.due(read.ejected, RULE, read.now) == ["a"]
    assert rig.store.settle_ejection(POOL, "a", read.ejected["a"].since, back=False, rule=RULE)
    longer = rig.store.read_snapshot(POOL, NOTHING_KNOWN)
    assert longer.ejected["a"].since <= longer.now + 0.002
    assert longer.ejected["a"].until <= longer.now + RULE.max_duration + 0.002
    assert rig.store.settle_ejection(POOL, "a", longer.ejected["a"].since, back=True, rule=RULE)
    assert not rig.store.read_snapshot(POOL, NOTHING_KNOWN).ejected["a"].out


def test_an_ejection_after_it_lasts_no_longer_than_any(rig: Rig) -> None:
    assert rig.store.count_failures(POOL, "a", FailureReport(2, 2, 2), RULE)
    out = rig.store.read_snapshot(POOL, NOTHING_KNOWN).ejected["a"]
    assert rig.store.settle_ejection(POOL, "a", out.since, back=True, rule=RULE)
    set_back(rig)
    assert rig.store.count_failures(POOL, "a", FailureReport(2, 2, 2), RULE)
    read = rig.store.read_snapshot(POOL, NOTHING_KNOWN)
    assert read.ejected["a"].until <= read.now + RULE.max_duration + 0.002


def test_a_backend_that_came_up_before_can_be_ejected(rig: Rig) -> None:
    """Else it would count as found up after it was ejected."""
    lease = rig.store.hold_lease(POOL, "checker", 600)
    assert lease is not None
    state = ActiveHealth(Health.UP, since=round(rig.now(), 3))
    rig.store.write_active(POOL, HealthWrite(lease.epoch, {"a": state}, interval=1, announce=True))
    set_back(rig)
    assert rig.store.count_failures(POOL, "a", FailureReport(2, 2, 2), RULE)
    read = rig.store.read_snapshot(POOL, NOTHING_KNOWN)
    assert is_out(read.ejected["a"], read.active["a"])


def test_the_heart_of_a_dead_checker_falls_silent(rig: Rig) -> None:
    lease = rig.store.hold_lease(POOL, "dead", 3.0)
    assert lease is not None
    rig.store.write_active(
        POOL, HealthWrite(lease.epoch, {"a": ActiveHealth(Health.DOWN)}, interval=0.1, announce=True)
    )
    set_back(rig)
    known = rig.store.read_snapshot(POOL, NOTHING_KNOWN)
    assert checker_speaks(known), "it may live, and speak again soon"
    rig.let_pass(0.5)
    assert not checker_speaks(rig.store.read_snapshot(POOL, known))


def test_a_dead_worker_is_dead(rig: Rig) -> None:
    rig.store.beat(POOL, "dead", Beat({"a": 5}), read=False)
    set_back(rig)
    assert rig.store.beat(POOL, "one", Beat(), read=True).loads == {"a": 5}, "it may live, and beat again soon"
    rig.let_pass(DEAD_AFTER + 0.01)
    assert rig.store.beat(POOL, "one", Beat(), read=True).loads == {}
    assert [worker.id for worker in rig.store.read_roster(POOL).workers] == ["one"]


def test_slots_of_a_dead_worker_are_free(rig: Rig) -> None:
    all_of_them = SlotDemand([BackendSlots("a", 0, 2)], extra=2)
    assert rig.store.hold_slots(POOL, "dead", all_of_them).held == [2]
    set_back(rig)
    assert rig.store.hold_slots(POOL, "one", all_of_them).held == [0], "it may live, and speak again soon"
    rig.let_pass(DEAD_AFTER + 0.01)
    assert rig.store.hold_slots(POOL, "one", all_of_them).held == [2]


@pytest.mark.parametrize("of", ["health", "ejection", "override"])
def test_nobody_is_cold_for_longer_than_warming_up_takes(rig: Rig, of: str) -> None:
    now = round(rig.now(), 3)
    if of == "health":
        lease = rig.store.hold_lease(POOL, "checker", 600)
        assert lease is not None
        rig.store.write_active(
            POOL, HealthWrite(lease.epoch, {"a": ActiveHealth(Health.UP, since=now)}, interval=1, announce=True)
        )
    elif of == "ejection":
        assert rig.store.count_failures(POOL, "a", FailureReport(2, 2, 2), RULE)
        since = rig.store.read_snapshot(POOL, NOTHING_KNOWN).ejected["a"].since
        assert rig.store.settle_ejection(POOL, "a", since, back=True, rule=RULE)
    else:
        assert rig.store.write_override(POOL, "a", None, Override(since=now))
    pool = Pool("web", (A,), slow_start=10.0)
    known = rig.store.read_snapshot(POOL, NOTHING_KNOWN)
    assert slow_start.percent(pool, A, known, known.now) == 10
    set_back(rig)
    read = rig.store.read_snapshot(
        POOL, replace(known, now=known.now + (0 if isinstance(rig.store, MemoryStore) else STEP))
    )
    assert slow_start.percent(pool, A, read, read.now) == 100


def test_what_operators_have_set_can_be_changed(rig: Rig) -> None:
    assert rig.store.write_override(POOL, "a", None, Override(Mode.SERVING, since=round(rig.now(), 3)))
    set_back(rig)
    before = rig.store.read_snapshot(POOL, NOTHING_KNOWN).overrides["a"]
    assert rig.store.write_override(POOL, "a", before, Override(Mode.OFF))


def test_what_is_ahead_by_less_than_writers_may_be_wrong_is_believed(rig: Rig) -> None:
    since = round(rig.now() + SLACK / 2, 3)
    assert rig.store.write_override(POOL, "a", None, Override(since=since))
    assert rig.store.read_snapshot(POOL, NOTHING_KNOWN).overrides["a"].since == since


def test_moments_are_found_in_what_is_written() -> None:
    """Else the tests above would prove nothing."""
    assert _later(b"1700000000000:2000") == b"1700003600000:2000"
    assert _later(b"1700000000000000 5000000") == b"1700003600000000 5000000"
    assert (
        _later(b'{"since":1700000000.250,"until":1700000001.5}') == b'{"since":1700003600.250,"until":1700003601.500}'
    )
