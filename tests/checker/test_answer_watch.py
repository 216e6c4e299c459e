"""Unusual errors of clients, as the leading checker finds and records them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from devtools.wait import PATIENCE
from lbflask.checker.answer_watch import AnswerWatch
from lbflask.checker.store_calls import StoreCalls
from lbflask.core.answer_shares import ShareChange
from lbflask.core.answers import AnswerKey, Answers
from lbflask.core.fleet_events import Kind
from lbflask.core.fleet_stats import WorkerIdentity, WorkerReport
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import Beat
from tests.checker.doubles import Checkers, RecordingStore, StubProbe, stop
from tests.store.stores import ManualClock

OK, DOWN = AnswerKey("2xx", "backend"), AnswerKey("503", "no_backend", "web")


def report(store: RecordingStore, counts: Mapping[AnswerKey, int]) -> None:
    """The beats of two workers, each with these answers."""
    for worker in ("one", "two"):
        told = WorkerReport(WorkerIdentity("one", "host", 1), 1.0, 10.0, answers=Answers(10.0, counts))
        store.backing.beat("web", worker, Beat(report=told), read=False)


def recording_store() -> RecordingStore:
    return RecordingStore(MemoryStore(ManualClock()))


def test_a_change_is_reported_also_after_the_store_was_away() -> None:
    async def watch() -> list[ShareChange]:
        store, call, found = recording_store(), StoreCalls(1), asyncio.Queue[ShareChange]()
        watching = asyncio.create_task(AnswerWatch("web", store, call, every=0.001).run(found.put_nowait))
        store.cut = True
        report(store, {OK: 900})
        while not store.refused:
            await asyncio.sleep(0.001)
        store.cut = False
        report(store, {OK: 100, DOWN: 900})
        change = await asyncio.wait_for(found.get(), PATIENCE)
        watching.cancel()
        call.close()
        return [change]

    (change,) = asyncio.run(watch())
    assert (change.unusual, change.key, change.share, change.per_second) == (True, DOWN, 0.9, 180.0)


def test_the_leader_that_watches_answers_records_an_event_and_no_other_does() -> None:
    async def lead() -> None:
        store = recording_store()
        report(store, {OK: 100, DOWN: 900})
        async with Checkers() as checkers:
            running = checkers.start(store, StubProbe(), watches_answers=True, interval=1.0)
            async with asyncio.timeout(PATIENCE):
                while not (found := [one for one in store.backing.read_events(50) if one.kind is Kind.ANSWERS]):
                    await asyncio.sleep(0.01)
            await stop(running)
            (event,) = found
            assert (event.what, event.pool, event.actor) == ("unusual", "web", "first")
            assert event.reason == "503 no backend (web): 90.0 % of the answers, 180.0/s; usually 10.0 %"

    asyncio.run(lead())
