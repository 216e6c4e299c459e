"""The turns that processes share: real processes, forked as workers are, some of them killed."""

from __future__ import annotations

import os
import signal
import struct
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devtools.wait import eventually
from lbflask.core.tickets import TicketBlock
from lbflask.fleet.shared_turns import RING, PoolTurns, SharedTurns, turns_of
from tests.fleet.stores import POOL


@contextmanager
def forked(work: Callable[[int], object]) -> Iterator[tuple[int, int]]:
    """A process that does this with the writing end of a pipe; its id, and the reading end. It is killed at the end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            work(writing)
        except BaseException:  # shown, since pytest does not see it
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    try:
        yield pid, reading
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.fixture
def turns() -> PoolTurns:
    return turns_of(POOL, None)


def locked(turns: PoolTurns) -> bool:
    """Whether the lock is free now; it stays free."""
    acquired = turns.acquire()
    if acquired:
        turns.release()
    return not acquired


def test_processes_take_each_turn_once(turns: PoolTurns) -> None:
    each = 50_000  # without other calls between, so that many are at the same moment

    def work(writing: int) -> None:
        taken = [turns.take() for _ in range(each)]
        with os.fdopen(os.dup(writing), "wb") as pipe:
            pipe.write(struct.pack(f"{each}q", *taken))

    with forked(work) as (_, one), forked(work) as (_, two):
        mine = [turns.take() for _ in range(each)]
        with os.fdopen(os.dup(one), "rb") as first, os.fdopen(os.dup(two), "rb") as second:
            taken = [*mine, *(turn for (turn,) in struct.iter_unpack("q", first.read() + second.read()))]
    assert sorted(taken) == list(range(1, 3 * each + 1))
    assert turns.latest() == 3 * each


def test_a_killed_process_keeps_no_lock(turns: PoolTurns) -> None:
    def hold(writing: int) -> None:
        os.write(writing, b"1" if turns.acquire() else b"0")
        time.sleep(600)

    with forked(hold) as (pid, reading):
        assert os.read(reading, 1) == b"1"
        assert locked(turns)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not locked(turns), "the lock is free")


def test_a_block_is_found_by_its_turns_in_all_processes(turns: PoolTurns) -> None:
    def publish(writing: int) -> None:
        turns.publish(TicketBlock(1, 4, 10, 3), leased_at=7.5)
        turns.publish(TicketBlock(4, 5, 20))
        os.write(writing, b"1")

    assert turns.find(1) is None
    assert (turns.newest().first, turns.newest().end) == (1, 1)
    with forked(publish) as (_, reading):
        assert os.read(reading, 1) == b"1"
    assert [turns.find(turn) for turn in (1, 3, 4, 5)] == [
        TicketBlock(1, 4, 10, 3), TicketBlock(1, 4, 10, 3), TicketBlock(4, 5, 20), None,
    ]  # fmt: skip
    assert turns.newest() == TicketBlock(4, 5, 20)
    assert turns.leased_at == 0.0


def test_a_block_leaves_the_ring_after_as_many_others(turns: PoolTurns) -> None:
    for turn in range(1, RING + 2):
        turns.publish(TicketBlock(turn, turn + 1, turn % 3))
    assert turns.find(1) is None
    assert turns.find(2) == TicketBlock(2, 3, 2)
    assert turns.newest() == TicketBlock(RING + 1, RING + 2, (RING + 1) % 3)


def test_turns_between_blocks_have_no_ticket(turns: PoolTurns) -> None:
    turns.publish(TicketBlock(1, 4, 10))
    turns.publish(TicketBlock(9, 9, 5))
    assert (turns.find(3), turns.find(5), turns.find(9)) == (TicketBlock(1, 4, 10), None, None)


def test_the_rate_counts_the_turns_of_all_but_those_that_were_no_requests(turns: PoolTurns) -> None:
    turns.rate(100.0, 0)
    assert turns.rate(101.0, 300) == 300
    turns.uncount(500)
    assert turns.rate(102.0, 1000) == 200


def test_a_store_that_one_process_misses_is_away_for_the_others_for_a_time(turns: PoolTurns) -> None:
    def miss(writing: int) -> None:
        turns.set_store_away(100.0, away=True)
        os.write(writing, b"1" if turns.is_store_away(100.1) else b"0")

    with forked(miss) as (_, reading):
        assert os.read(reading, 1) == b"0", "that process goes by its own link"
    assert turns.is_store_away(100.1)
    assert not turns.is_store_away(102.0)
    turns.set_store_away(100.2, away=False)
    assert not turns.is_store_away(100.3)


def test_each_pool_has_turns_of_its_own_and_the_same_in_each_process() -> None:
    shared = SharedTurns(2)

    def take(writing: int) -> None:
        os.write(writing, struct.pack("qq", turns_of("api", shared).take(), turns_of(POOL, shared).take()))

    with forked(take) as (_, reading):
        assert struct.unpack("qq", os.read(reading, 16)) == (1, 1)
    assert turns_of(POOL, shared).take() == 2
    assert turns_of("api", shared).take() == 2


def test_pools_without_room_have_turns_of_their_process() -> None:
    shared = SharedTurns(1)
    assert shared.of(POOL) is not None
    assert shared.of("api") is None
    first, second = turns_of("api", shared), turns_of("api", shared)
    assert (first.take(), second.take()) == (1, 1)


def test_a_place_that_nobody_uses_goes_to_another_pool_from_the_first_turn_on() -> None:
    shared = SharedTurns(2)
    api, left = turns_of("api", shared), turns_of("left", shared)
    api.take()
    left.skip(7)
    left.publish(TicketBlock(1, 8, 10), leased_at=7.5)
    left.rate(100.0, 7)
    left.leave()
    left.leave()
    assert left.place is None
    new = turns_of("new", shared)
    assert (new.take(), new.newest().first, new.find(1), new.leased_at) == (1, 1, None, 0.0)
    assert new.rate(0.5, 1) == 1
    assert turns_of("api", shared).take() == 2
    assert shared.of("left") is None


def test_a_pool_that_comes_back_before_another_one_goes_on_with_its_turns() -> None:
    shared = SharedTurns(1)
    turns_of(POOL, shared).take()
    turns_of(POOL, shared).leave()
    assert turns_of(POOL, shared).take() == 2


def test_a_place_is_used_until_its_last_user_in_the_process_has_left_it() -> None:
    shared = SharedTurns(1)
    one, two = turns_of(POOL, shared), turns_of(POOL, shared)
    one.leave()
    assert shared.of("api") is None
    two.leave()
    assert shared.of("api") is not None


def test_a_place_is_used_until_the_last_process_with_it_has_ended() -> None:
    shared = SharedTurns(1)

    def use(writing: int) -> None:
        os.write(writing, b"0" if turns_of(POOL, shared).place is None else b"1")
        time.sleep(600)

    turns = turns_of(POOL, shared)
    with forked(use) as (pid, reading):
        assert os.read(reading, 1) == b"1"
        turns.leave()
        assert shared.of("api") is None
        os.kill(pid, signal.SIGKILL)
        found = eventually(lambda: shared.of("api"), "the kernel has released the place")
    assert found.take() == 1


def test_a_process_that_stops_with_the_table_costs_the_others_one_short_wait() -> None:
    shared = SharedTurns(2)

    def stop(writing: int) -> None:
        os.write(writing, b"1" if shared._acquire_table(0.0) else b"0")
        time.sleep(600)

    with forked(stop) as (pid, reading):
        assert os.read(reading, 1) == b"1"
        os.kill(pid, signal.SIGSTOP)
        own = turns_of(POOL, shared)
        assert (own.place, own.take()) == (None, 1)
        assert shared.of("api", patience=600) is None, "it has waited before"
        os.kill(pid, signal.SIGKILL)
        found = eventually(lambda: shared.of(POOL, patience=0.0), "the kernel has released the table")
    assert found.place == 0


def test_descriptors_are_closed_with_the_last_user() -> None:
    def opened() -> int:
        return len([*Path("/proc/self/fd").iterdir()])

    before = opened()
    turns = turns_of(POOL, SharedTurns(3))
    assert opened() == before + 3
    assert repr(turns) == "<PoolTurns latest=0 blocks=0>"
    del turns
    assert opened() == before
