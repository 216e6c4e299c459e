"""Rounds: each backend at its pace, so many at once, none twice at once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from lbflask.checker.probe_scheduler import ProbeScheduler
from lbflask.core.model import Backend
from tests.support.wait import PATIENCE

#: Seconds that no test lasts.
NEVER = 3600.0


def backends(count: int) -> list[Backend]:
    return [Backend(f"b{number}", "h", number + 1, f"http://h:{number + 1}") for number in range(count)]


class Gate:
    """A look that lasts until the test opens the gate, and then asks for the next one after `pause` seconds."""

    def __init__(self, pause: float = NEVER) -> None:
        self.pause = pause
        self.open = asyncio.Event()
        self.looks: Counter[str] = Counter()
        self.late: list[float] = []
        self.under_way = 0
        self.most = 0

    async def __call__(self, backend: Backend, late: float) -> float:
        self.looks[backend.id] += 1
        self.late.append(late)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.open.wait()
        finally:
            self.under_way -= 1
        return self.pause


async def until(condition: object) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0)


def test_all_are_looked_at_in_the_first_round_and_so_many_at_once() -> None:
    async def scene() -> None:
        gate = Gate()
        rounds = ProbeScheduler(backends(1000), gate, most=70)
        running = asyncio.create_task(rounds.run())
        await until(lambda: gate.under_way == 70)
        for _ in range(20):
            await asyncio.sleep(0)
        assert gate.most == 70
        assert not rounds.whole
        gate.open.set()
        async with asyncio.timeout(PATIENCE):
            await rounds.first.wait()
        assert rounds.whole
        assert gate.most == 70
        assert set(gate.looks.values()) == {1}
        rounds.stop()
        await running

    asyncio.run(scene())


def test_a_first_round_of_nobody_is_over_at_once() -> None:
    async def scene() -> None:
        rounds = ProbeScheduler([], look, most=1)
        task = asyncio.create_task(rounds.run())
        await asyncio.wait_for(rounds.first.wait(), PATIENCE)
        assert rounds.whole
        rounds.stop()
        await task

    async def look(backend: Backend, late: float) -> float:
        raise AssertionError

    asyncio.run(scene())


def test_each_is_looked_at_again_after_its_pause_and_never_twice_at_once() -> None:
    async def scene() -> None:
        gate = Gate(pause=0.0)
        gate.open.set()
        rounds = ProbeScheduler(backends(3), gate, most=10)
        running = asyncio.create_task(rounds.run())
        await until(lambda: min(gate.looks.values(), default=0) > 20)
        gate.open.clear()
        await until(lambda: gate.under_way == 3)
        for _ in range(20):
            await asyncio.sleep(0)
        assert gate.under_way == 3
        gate.open.set()
        rounds.stop()
        await running
        assert gate.under_way == 0

    asyncio.run(scene())


def test_one_that_is_hurried_is_looked_at_now_and_once_more_after_a_look_under_way() -> None:
    async def scene() -> None:
        gate = Gate()
        rounds = ProbeScheduler(backends(2), gate, most=10)
        running = asyncio.create_task(rounds.run())
        await until(lambda: gate.under_way == 2)
        rounds.hurry("b0")
        rounds.hurry("nobody")
        gate.open.set()
        await until(lambda: gate.looks["b0"] == 2)
        rounds.hurry("b1")
        await until(lambda: gate.looks["b1"] == 2)
        rounds.stop()
        await running
        assert gate.looks == {"b0": 2, "b1": 2}

    asyncio.run(scene())


@pytest.mark.parametrize("way", ["pause of zero", "hurry", "add"])
def test_a_look_is_under_way_until_its_end_is_known(way: str) -> None:
    """The loop wakes after a look has returned, and before the end of its task is reported."""

    async def look(backend: Backend, late: float) -> float:
        looks[backend.id] += 1
        if backend.id == "b1":
            return NEVER
        for _ in range(10):  # until the loop sleeps
            await asyncio.sleep(0)
        if way == "hurry":
            rounds.hurry("b0")
        elif way == "add":
            rounds.add(backend)
        rounds.hurry("b1")  # wakes the loop, before the end of this look is known
        return 0.0 if way == "pause of zero" else NEVER

    async def scene() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        running = asyncio.create_task(rounds.run())
        await until(lambda: looks["b0"] >= 5 or errors)
        rounds.stop()
        await running

    errors: list[object] = []
    looks: Counter[str] = Counter()
    rounds = ProbeScheduler(backends(2), look, most=10)
    asyncio.run(scene())
    assert errors == []


def test_one_that_is_dropped_before_its_look_has_begun_is_no_error() -> None:
    async def scene() -> None:
        async def look(backend: Backend, late: float) -> float:
            if backend.id == "b0":
                rounds.drop("b1")  # whose task exists, and has not run
            return NEVER

        rounds = ProbeScheduler(backends(2), look, most=2)
        running = asyncio.create_task(rounds.run())
        async with asyncio.timeout(PATIENCE):
            await rounds.first.wait()
        rounds.stop()
        await running

    asyncio.run(scene())


def test_how_late_a_look_is_is_told() -> None:
    async def scene() -> None:
        gate = Gate()
        rounds = ProbeScheduler(backends(2), gate, most=1)
        running = asyncio.create_task(rounds.run())
        await until(lambda: gate.under_way == 1)
        await asyncio.wait([asyncio.create_task(gate.open.wait())], timeout=0.05)
        gate.open.set()
        await until(lambda: len(gate.late) == 2)
        rounds.stop()
        await running
        assert gate.late[1] >= 0.04
        assert gate.late[1] > gate.late[0] >= 0

    asyncio.run(scene())


def test_a_stop_waits_for_looks_under_way_and_begins_none() -> None:
    async def scene() -> None:
        gate = Gate(pause=0.0)
        rounds = ProbeScheduler(backends(5), gate, most=2)
        running = asyncio.create_task(rounds.run())
        await until(lambda: gate.under_way == 2)
        rounds.stop()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not running.done()
        gate.open.set()
        await running
        assert sum(gate.looks.values()) == 2
        assert rounds.first.is_set()
        assert not rounds.whole

    asyncio.run(scene())


def test_an_error_of_a_look_is_not_lost() -> None:
    async def broken(backend: Backend, late: float) -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(ProbeScheduler(backends(1), broken, most=1).run())


def test_nothing_is_under_way_when_it_is_cancelled() -> None:
    async def scene() -> None:
        gate = Gate()
        running = asyncio.create_task(ProbeScheduler(backends(5), gate, most=5).run())
        await until(lambda: gate.under_way == 5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert gate.under_way == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scene())
