"""The memory store and the Redis store play the same game and must give the same answers.

Epochs and versions are numbers of each store's own making: they are compared by what their readers may ask of them,
which is equality for versions and order for epochs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from devtools.wait import eventually
from lbflask.core import slots
from lbflask.core.ejection import FORGOTTEN_WINDOWS, EjectionPolicy, FailureReport
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Health, Snapshot
from lbflask.core.printable import printable
from lbflask.core.rate_limit import RateLimit
from lbflask.core.slots import BackendSlots, SlotDemand
from lbflask.store import ports, redis
from lbflask.store.keys import PoolKeys
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import Beat, HealthWrite, StoreWatch
from tests.store.stores import ManualClock, Rig, fake_redis, real_redis
from tests.support.selection import examples

POOLS = ("web", "api")
#: Longer than any game.
LEASE = 1000.0

pools = st.sampled_from(POOLS)
holders = st.sampled_from(["a", "b", "c"])
words = st.text(st.characters(codec="utf-8"), max_size=6)
backends = st.one_of(st.sampled_from(["one:80", "two:80", "three"]), words)
states = st.builds(
    ActiveHealth,
    health=st.sampled_from(Health),
    streak=st.integers(0, 100),
    reason=words.map(printable),  # as records are read
    since=st.integers(0, 2**40).map(lambda ms: round(ms / 1000, 3)),
)
writes = st.dictionaries(backends, states, max_size=4)
members = st.sampled_from(["one:80", "two:80", "drei ß", "four"])
#: No game lasts as long as a window.
RULE = EjectionPolicy(("one:80", "two:80", "drei ß", "four"), window=LEASE, duration=0.001, max_duration=1e9)
intervals = st.integers(0, 100_000).map(lambda ms: ms / 1000)
counts = st.dictionaries(members, st.integers(0, 50), max_size=3)


class StoresAgree(RuleBasedStateMachine):
    """The game. `open_rig` gives the Redis store to play on, with nothing in it."""

    open_rig: Callable[[], AbstractContextManager[Rig]]

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.memory = MemoryStore(self.clock)
        self.context = type(self).open_rig()
        self.rig = self.context.__enter__()
        self.rig.empty()
        self.redis = self.rig.store
        self.known: dict[str, tuple[Snapshot, Snapshot]] = dict.fromkeys(POOLS, (NOTHING_KNOWN, NOTHING_KNOWN))
        self.epochs: dict[str, set[tuple[int, int]]] = {pool: {(0, 0)} for pool in POOLS}
        self.versions: dict[str, set[tuple[int, int]]] = {pool: {(0, 0)} for pool in POOLS}
        self.watches: list[tuple[StoreWatch, StoreWatch]] = []

    def teardown(self) -> None:
        for pair in self.watches:
            for watch in pair:
                watch.close()
        self.context.__exit__(None, None, None)

    @initialize()
    def watch(self) -> None:
        """Listen on both, and wait until both hear."""
        changes = self.memory.watch_changes(POOLS), self.redis.watch_changes(POOLS)
        suspects = self.memory.watch_suspects(POOLS), self.redis.watch_suspects(POOLS)
        self.watches = [changes, suspects]
        for pool in POOLS:
            self.rig.other.write_active(pool, HealthWrite(self._lead_of_redis(pool), {}, interval=1, announce=True))
            self.rig.other.report_suspect(pool, "")
        hear(changes[1], {*POOLS})
        hear(suspects[1], {f"{pool}/" for pool in POOLS})
        self.rig.empty()

    def _lead_of_redis(self, pool: str) -> int:
        lease = self.rig.other.hold_lease(pool, "to begin with", LEASE)
        assert lease is not None
        return lease.epoch

    @rule(pool=pools, count=st.integers(1, 300))
    def take_tickets(self, pool: str, count: int) -> None:
        assert self.memory.take_tickets(pool, count) == self.redis.take_tickets(pool, count)

    @rule(pool=pools, count=st.integers(1, 300), returned=st.integers(1, 300), later=st.integers(-1, 1))
    def return_tickets(self, pool: str, count: int, returned: int, later: int) -> None:
        first = self.memory.take_tickets(pool, count)
        assert first == self.redis.take_tickets(pool, count)
        count = min(count, returned)
        first += returned - count + later
        assert self.memory.return_tickets(pool, first, count) == self.redis.return_tickets(pool, first, count)

    @rule(pool=pools, proposed=st.sampled_from(["one-secret-of-a-fleet", "two-secrets-of-a-fleet"]))
    def agree_on_secret(self, pool: str, proposed: str) -> None:
        assert self.memory.agree_on_secret(pool, proposed) == self.redis.agree_on_secret(pool, proposed)

    @rule(pool=pools, holder=holders)
    def hold_lease(self, pool: str, holder: str) -> None:
        ours, theirs = (store.hold_lease(pool, holder, LEASE) for store in (self.memory, self.redis))
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            self.epochs[pool].add((ours.epoch, theirs.epoch))

    @rule(pool=pools, holder=holders)
    def drop_lease(self, pool: str, holder: str) -> None:
        self.memory.drop_lease(pool, holder)
        self.redis.drop_lease(pool, holder)

    @rule()
    def leases_run_out(self) -> None:
        self.clock.advance(LEASE * FORGOTTEN_WINDOWS)
        assert self.rig.client is not None
        for keys in (PoolKeys("test", pool) for pool in POOLS):
            self.rig.client.delete(keys.leader, keys.checkers, keys.probe, keys.failures, keys.workers, keys.slots)

    @rule(data=st.data(), pool=pools, written=writes, interval=intervals, replace=st.booleans(), announce=st.booleans())
    def write_active(
        self,
        data: st.DataObject,
        pool: str,
        written: dict[str, ActiveHealth],
        interval: float,
        replace: bool,
        announce: bool,
    ) -> None:
        known = sorted(self.epochs[pool])
        latest = known[-1]
        ours, theirs = data.draw(st.one_of(st.just(latest), st.sampled_from([*known, (latest[0] + 1, latest[1] + 1)])))
        options = {"interval": interval, "replace": replace, "announce": announce}
        assert self.memory.write_active(pool, HealthWrite(ours, written, **options)) == self.redis.write_active(
            pool, HealthWrite(theirs, written, **options)
        )

    @rule(pool=pools, afresh=st.booleans())
    def read_snapshot(self, pool: str, afresh: bool) -> None:
        known = (NOTHING_KNOWN, NOTHING_KNOWN) if afresh else self.known[pool]
        ours, theirs = self.memory.read_snapshot(pool, known[0]), self.redis.read_snapshot(pool, known[1])
        assert ours.active == theirs.active
        assert ours.interval == theirs.interval
        assert {id_: (state.out, state.times) for id_, state in ours.ejected.items()} == {
            id_: (state.out, state.times) for id_, state in theirs.ejected.items()
        }
        assert (ours.heartbeat is None) == (theirs.heartbeat is None)
        assert (ours.version == known[0].version) == (theirs.version == known[1].version)
        self.known[pool] = ours, theirs
        self.versions[pool].add((ours.version, theirs.version))

    @rule(pool=pools, backend=backends)
    def report_suspect(self, pool: str, backend: str) -> None:
        self.memory.report_suspect(pool, backend)
        self.redis.report_suspect(pool, backend)

    @rule(pool=pools, backend=members, attempts=st.integers(0, 20), failures=st.integers(1, 6), each=st.integers(1, 2))
    def count_failures(self, pool: str, backend: str, attempts: int, failures: int, each: int) -> None:
        report = FailureReport(attempts, failures, failures * each)
        assert self.memory.count_failures(pool, backend, report, RULE) == self.redis.count_failures(
            pool, backend, report, RULE
        )

    @rule(pool=pools, backend=members, back=st.booleans(), stale=st.booleans())
    def settle_ejection(self, pool: str, backend: str, back: bool, stale: bool) -> None:
        ours, theirs = (
            store.read_snapshot(pool, NOTHING_KNOWN).ejected.get(backend) for store in (self.memory, self.redis)
        )
        assert (ours is None) == (theirs is None)
        since = [1.5, 1.5] if ours is None or theirs is None or stale else [ours.since, theirs.since]
        assert self.memory.settle_ejection(pool, backend, since[0], back=back, rule=RULE) == self.redis.settle_ejection(
            pool, backend, since[1], back=back, rule=RULE
        )

    @rule(pool=pools, holder=holders)
    def hold_probe(self, pool: str, holder: str) -> None:
        assert self.memory.hold_probe(pool, holder, LEASE) == self.redis.hold_probe(pool, holder, LEASE)

    @rule(pool=pools, worker=holders, loads=counts, attempts=counts, read=st.booleans())
    def beat(self, pool: str, worker: str, loads: dict[str, int], attempts: dict[str, int], read: bool) -> None:
        ours, theirs = (
            store.beat(pool, worker, Beat(loads, attempts), read=read) for store in (self.memory, self.redis)
        )
        assert ours.loads == theirs.loads  # the dead are counted for a while, and here they die at another time

    @rule(pool=pools, worker=holders)
    def leave(self, pool: str, worker: str) -> None:
        self.memory.leave(pool, worker)
        self.redis.leave(pool, worker)

    @rule(
        pool=pools,
        worker=holders,
        kept=st.dictionaries(members, st.integers(0, 3), max_size=3),
        extra=st.integers(0, 4),
        waiting=st.integers(0, 3),
        waited=st.sampled_from([0.0, 100.0, 200.0]),
        room=st.integers(0, 6),
        before=st.integers(0, 6),
    )
    def hold_slots(
        self,
        pool: str,
        worker: str,
        kept: dict[str, int],
        extra: int,
        waiting: int,
        waited: float,
        room: int,
        before: int,
    ) -> None:
        places = [BackendSlots(backend, count, 4) for backend, count in kept.items()]
        demand = SlotDemand(places, extra, waiting, waited, room, before)
        assert self.memory.hold_slots(pool, worker, demand) == self.redis.hold_slots(pool, worker, demand)

    @rule(burst=st.integers(1, 3), key=words)
    def take_token(self, burst: int, key: str) -> None:
        # No game lasts until a token comes back.
        limit = RateLimit("limit", 1, 86_400, burst)
        ours, theirs = self.memory.take_token(limit, key), self.redis.take_token(limit, key)
        assert (ours.passed, ours.left) == (theirs.passed, theirs.left)

    @rule()
    def empty(self) -> None:
        self.memory.empty()
        self.rig.empty()

    @invariant()
    def the_same_messages_are_heard(self) -> None:
        for in_memory, in_redis in self.watches:
            expected = set(in_memory.wait(0))
            assert hear(in_redis, expected) == expected

    @invariant()
    def versions_are_equal_alike(self) -> None:
        for pairs in self.versions.values():
            assert len({ours for ours, _ in pairs}) == len({theirs for _, theirs in pairs}) == len(pairs)

    @invariant()
    def epochs_are_ordered_alike(self) -> None:
        for pairs in self.epochs.values():
            assert len({ours for ours, _ in pairs}) == len(pairs)
            assert sorted(pairs) == sorted(pairs, key=lambda pair: pair[1])
            assert len({theirs for _, theirs in pairs}) == len(pairs)


def hear(watch: StoreWatch, expected: set[str]) -> set[str]:
    """What is heard until all that is expected was."""
    heard = set(watch.wait(0))

    def all_of_it() -> bool:
        if not heard >= expected:
            heard.update(watch.wait(0.05))
        return heard >= expected

    eventually(all_of_it, f"{expected} are heard")
    return heard


def play(open_rig: Callable[[], AbstractContextManager[Rig]], games: int) -> None:
    class Game(StoresAgree):
        pass

    Game.open_rig = staticmethod(open_rig)
    # No deadline: how long an answer takes is not what is played for.
    run_state_machine_as_test(
        Game,
        settings=settings(
            max_examples=games,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture(autouse=True)
def _nobody_dies_in_a_game(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ports, redis):
        monkeypatch.setattr(module, "DEAD_AFTER", LEASE / 2)
    for module in (slots, redis):  # and what the game itself takes counts as nothing
        monkeypatch.setattr(module, "TOLERANCE", 50.0)


def test_memory_and_a_fake_redis_give_the_same_answers() -> None:
    play(fake_redis, games=examples(20))


def test_memory_and_a_real_valkey_give_the_same_answers(redis_url: str) -> None:
    play(lambda: real_redis(redis_url), games=examples(20))
