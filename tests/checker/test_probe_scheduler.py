"""Rounds: each backend at its pace, so many at once, none twice at once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from devtools.wait import PATIENCE
from lbflask.checker.probe_scheduler import ProbeScheduler
from lbflask.core.model import Backend
from tests.checker.doubles import NEVER


def backends(count: int) -> list[Backend]:
    return [Backend(f"b{number}", "h", number + 1, f"http://h:{number + 1}") for number in range(count)]


class GatedCheck:
    """A check that lasts until the test opens the gate, and then asks for the next one after `pause` seconds."""

    def __init__(self, pause: float = NEVER) -> None:
        self.pause = pause
        self.open = asyncio.Event()
        self.checks: Counter[str] = Counter()
        self.delays: list[float] = []
        self.in_progress = 0
        self.max_in_progress = 0

    async def __call__(self, backend: Backend, delay: float) -> float:
        self.checks[backend.id] += 1
        self.delays.append(delay)
        self.in_progress += 1
        self.max_in_progress = max(self.max_in_progress, self.in_progress)
        try:
            await self.open.wait()
        finally:
            self.in_progress -= 1
        return self.pause


async def until(condition: object) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0)


def test_all_are_looked_at_in_the_first_round_and_so_many_at_once() -> None:
    async def scenario() -> None:
        gate = GatedCheck()
        scheduler = ProbeScheduler(backends(1000), gate, limit=70)
        running = asyncio.create_task(scheduler.run())
        await until(lambda: gate.in_progress == 70)
        for _ in range(20):
            await asyncio.sleep(0)
        assert gate.max_in_progress == 70
        assert not scheduler.first_round_complete
        gate.open.set()
        async with asyncio.timeout(PATIENCE):
            await scheduler.first_round_ended.wait()
        assert scheduler.first_round_complete
        assert gate.max_in_progress == 70
        assert set(gate.checks.values()) == {1}
        scheduler.stop()
        await running

    asyncio.run(scenario())


def test_a_first_round_of_nobody_is_over_at_once() -> None:
    async def scenario() -> None:
        scheduler = ProbeScheduler([], check, limit=1)
        task = asyncio.create_task(scheduler.run())
        await asyncio.wait_for(scheduler.first_round_ended.wait(), PATIENCE)
        assert scheduler.first_round_complete
        scheduler.stop()
        await task

    async def check(backend: Backend, delay: float) -> float:
        raise AssertionError

    asyncio.run(scenario())


def test_each_is_looked_at_again_after_its_pause_and_never_twice_at_once() -> None:
    async def scenario() -> None:
        gate = GatedCheck(pause=0.0)
        gate.open.set()
        scheduler = ProbeScheduler(backends(3), gate, limit=10)
        running = asyncio.create_task(scheduler.run())
        await until(lambda: min(gate.checks.values(), default=0) > 20)
        gate.open.clear()
        await until(lambda: gate.in_progress == 3)
        for _ in range(20):
            await asyncio.sleep(0)
        assert gate.in_progress == 3
        gate.open.set()
        scheduler.stop()
        await running
        assert gate.in_progress == 0

    asyncio.run(scenario())


def test_one_that_is_hurried_is_looked_at_now_and_once_more_after_a_look_in_progress() -> None:
    async def scenario() -> None:
        gate = GatedCheck()
        scheduler = ProbeScheduler(backends(2), gate, limit=10)
        running = asyncio.create_task(scheduler.run())
        await until(lambda: gate.in_progress == 2)
        scheduler.expedite("b0")
        scheduler.expedite("nobody")
        gate.open.set()
        await until(lambda: gate.checks["b0"] == 2)
        scheduler.expedite("b1")
        await until(lambda: gate.checks["b1"] == 2)
        scheduler.stop()
        await running
        assert gate.checks == {"b0": 2, "b1": 2}

    asyncio.run(scenario())


@pytest.mark.parametrize("way", ["pause of zero", "hurry", "add"])
def test_a_look_is_in_progress_until_its_end_is_known(way: str) -> None:
    """The loop wakes after a check has returned, and before the end of its task is reported."""

    async def check(backend: Backend, delay: float) -> float:
        checks[backend.id] += 1
        if backend.id == "b1":
            return NEVER
        for _ in range(10):  # until the loop sleeps
            await asyncio.sleep(0)
        if way == "hurry":
            scheduler.expedite("b0")
        elif way == "add":
            scheduler.add(backend)
        scheduler.expedite("b1")  # wakes the loop, before the end of this check is known
        return 0.0 if way == "pause of zero" else NEVER

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        running = asyncio.create_task(scheduler.run())
        await until(lambda: checks["b0"] >= 5 or errors)
        scheduler.stop()
        await running

    errors: list[object] = []
    checks: Counter[str] = Counter()
    scheduler = ProbeScheduler(backends(2), check, limit=10)
    asyncio.run(scenario())
    assert errors == []


def test_one_that_is_dropped_before_its_look_has_begun_is_no_error() -> None:
    async def scenario() -> None:
        async def check(backend: Backend, delay: float) -> float:
            if backend.id == "b0":
                scheduler.discard("b1")  # whose task exists, and has not run
            return NEVER

        scheduler = ProbeScheduler(backends(2), check, limit=2)
        running = asyncio.create_task(scheduler.run())
        async with asyncio.timeout(PATIENCE):
            await scheduler.first_round_ended.wait()
        scheduler.stop()
        await running

    asyncio.run(scenario())


def test_how_late_a_look_is_is_told() -> None:
    async def scenario() -> None:
        gate = GatedCheck()
        scheduler = ProbeScheduler(backends(2), gate, limit=1)
        running = asyncio.create_task(scheduler.run())
        await until(lambda: gate.in_progress == 1)
        await asyncio.wait([asyncio.create_task(gate.open.wait())], timeout=0.05)
        gate.open.set()
        await until(lambda: len(gate.delays) == 2)
        scheduler.stop()
        await running
        assert gate.delays[1] >= 0.04
        assert gate.delays[1] > gate.delays[0] >= 0

    asyncio.run(scenario())


def test_a_stop_waits_for_looks_in_progress_and_begins_none() -> None:
    async def scenario() -> None:
        gate = GatedCheck(pause=0.0)
        scheduler = ProbeScheduler(backends(5), gate, limit=2)
        running = asyncio.create_task(scheduler.run())
        await until(lambda: gate.in_progress == 2)
        scheduler.stop()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not running.done()
        gate.open.set()
        await running
        assert sum(gate.checks.values()) == 2
        assert scheduler.first_round_ended.is_set()
        assert not scheduler.first_round_complete

    asyncio.run(scenario())


def test_an_error_of_a_look_is_not_lost() -> None:
    async def broken(backend: Backend, delay: float) -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(ProbeScheduler(backends(1), broken, limit=1).run())


def test_nothing_is_in_progress_when_it_is_cancelled() -> None:
    async def scenario() -> None:
        gate = GatedCheck()
        running = asyncio.create_task(ProbeScheduler(backends(5), gate, limit=5).run())
        await until(lambda: gate.in_progress == 5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert gate.in_progress == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())
