"""Checkers of one pool over stub probes and a store that records their writes."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from devtools.wait import PATIENCE
from lbflask.checker.discovery_task import DiscoveryTask
from lbflask.checker.leadership import LeaderSettings
from lbflask.checker.pool_checker import CheckedPool, PoolChecker
from lbflask.checker.publisher import CheckerState
from lbflask.checker.store_calls import RETRY_INTERVAL
from lbflask.core.checks import HealthCheck
from lbflask.core.discovery import DiscoveredBackend
from lbflask.core.health import Observation, Thresholds
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Backend, Health, Pool, Snapshot
from lbflask.discovery.source import DiscoveryFailure, DiscoveryResult
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import CheckerStore, HealthWrite, StoreUnavailable
from lbflask.store.redis import RedisStore

A, B = (Backend(f"{name}:80", name, 80, f"http://{name}:80") for name in "ab")
POOL = Pool("web", (A, B))
ONE = Pool("web", (A,))
#: Seconds that no test lasts: an event that happens did not wait for them.
NEVER = 3600.0

Probe = Callable[[Backend, HealthCheck], Awaitable[Observation]]
Running = tuple[PoolChecker, asyncio.Task[None]]


async def eventually(condition: Callable[[], object], expected: str) -> None:
    """Wait until the condition holds; fails after the deadline."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {expected}"
        await asyncio.sleep(0.005)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run the scenario; an error that no task of it raises fails it too."""
    broken: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
        await scenario()

    asyncio.run(watched())
    assert not broken


class StubProbe:
    """A probe that returns at once what is set, and counts."""

    def __init__(self, ok: bool = True, **answers: bool) -> None:
        self.ok = ok
        self.answers = answers  # by host
        self.probes: defaultdict[str, int] = defaultdict(int)
        self.expires = 0.0

    async def __call__(self, backend: Backend, check: HealthCheck) -> Observation:
        self.probes[backend.host] += 1
        ok = self.answers.get(backend.host, self.ok)
        return Observation(ok, "fine" if ok else "refused", expires=self.expires)


class ControlledProbe:
    """A probe whose results the test gives, each with a number as the reason."""

    def __init__(self) -> None:
        self.started: defaultdict[str, int] = defaultdict(int)
        self.given = 0
        self._answers: defaultdict[str, asyncio.Queue[Observation]] = defaultdict(asyncio.Queue)

    async def __call__(self, backend: Backend, check: HealthCheck) -> Observation:
        self.started[backend.host] += 1
        return await self._answers[backend.host].get()

    def answer(self, ok: bool, host: str = "a") -> str:
        self.given += 1
        self._answers[host].put_nowait(Observation(ok, str(self.given)))
        return str(self.given)


class RecordingStore:
    """A store that records writes and can be made unavailable. `backing` holds the data."""

    def __init__(self, backing: MemoryStore | RedisStore) -> None:
        self.backing = backing
        self.cut = False
        self.suspects_cut = False  # only the subscription to suspects is unavailable
        self.refused: list[str] = []
        self.writes: list[HealthWrite] = []  # the successful ones
        self.leases = 0

    def __getattr__(self, method: str) -> Callable[..., Any]:
        """Any operation of the port."""
        operation = getattr(self.backing, method)

        def call(*arguments: Any, **named: Any) -> Any:
            if self.cut or (self.suspects_cut and method == "watch_suspects"):
                self.refused.append(method)
                raise StoreUnavailable("cut")
            done = operation(*arguments, **named)
            self.leases += method == "hold_lease" and done is not None
            if method == "write_active" and done:
                self.writes.append(arguments[1])
            return done

        return call

    def close(self) -> None:
        self.backing.close()

    def health(self) -> dict[str, Health]:
        """The stored health of each backend."""
        return {key: state.health for key, state in self.state().items()}

    def state(self) -> dict[str, ActiveHealth]:
        return dict(self.snapshot().active)

    def snapshot(self) -> Snapshot:
        return self.backing.read_snapshot("web", NOTHING_KNOWN)


class Checkers:
    """Starts checkers, and ends them with the block."""

    #: Seconds; with `short_lease` so few that tests can wait for its end.
    lease = 3.0

    def __init__(self) -> None:
        self._running: list[Running] = []

    async def __aenter__(self) -> Checkers:
        return self

    async def __aexit__(self, *_: object) -> None:
        for _, task in self._running:
            await kill(task)

    def start(
        self,
        store: CheckerStore,
        probe: Probe,
        *,
        pool: Pool = ONE,
        holder: str = "first",
        interval: float = 0.01,
        soon: float = 0.01,
        rise: int = 2,
        fall: int = 3,
        limit: int = 100,
        retry_interval: float = RETRY_INTERVAL,
        discovery: DiscoveryTask | None = None,
        predecessor: CheckerState | None = None,
        watches_answers: bool = False,
    ) -> Running:
        check = HealthCheck(interval=interval, soon=min(soon, interval), thresholds=Thresholds(rise, fall))
        settings = LeaderSettings(holder, interval, self.lease, limit, retry_interval)
        checked = CheckedPool(pool, lambda _: check, probe, discovery, watches_answers=watches_answers)
        checker = PoolChecker(checked, store, settings, predecessor)
        running = checker, asyncio.create_task(checker.run())
        self._running.append(running)
        return running


async def kill(task: asyncio.Task[None]) -> None:
    """End it as if its process were killed: it releases nothing."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def stop(running: Running) -> None:
    checker, task = running
    checker.stop()
    await asyncio.wait_for(task, PATIENCE)


class ManualClock:
    """Seconds since the epoch, moved by hand: on a store with this clock a lease ends when the test says so."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class FakeSource:
    """A source that gives what the test sets."""

    patience = NEVER

    def __init__(self) -> None:
        self._answers: asyncio.Queue[DiscoveryResult | DiscoveryFailure] = asyncio.Queue()

    def __str__(self) -> str:
        return "fake:"

    async def ask(self) -> DiscoveryResult:
        answer = await self._answers.get()
        if isinstance(answer, DiscoveryFailure):
            raise answer
        return answer

    def give(self, *backends: Backend, check: HealthCheck | None = None) -> None:
        self._answers.put_nowait(DiscoveryResult(tuple(DiscoveredBackend(backend, check) for backend in backends), 0))

    def fail(self) -> None:
        self._answers.put_nowait(DiscoveryFailure("no"))


def health_of_a(store: RecordingStore) -> ActiveHealth:
    """The stored health of A."""
    return store.state().get(A.id, ActiveHealth())


def leave_health(store: RecordingStore, states: dict[str, ActiveHealth]) -> None:
    """Write the health that an earlier checker has left."""
    lease = store.backing.hold_lease("web", "before", Checkers.lease)
    assert lease is not None
    assert store.backing.write_active("web", HealthWrite(lease.epoch, states, interval=1, announce=True))
    store.backing.drop_lease("web", "before")


async def answer(store: RecordingStore, probe: ControlledProbe, *answers: bool) -> None:
    """End probes of A with these results, and wait until each is published."""
    for ok in answers:
        reason = probe.answer(ok)
        await eventually(lambda reason=reason: health_of_a(store).reason == reason, "the answer is published")  # type: ignore[misc]


def report_suspect(store: RecordingStore, backend: Backend) -> bool:
    """Report the backend as a worker does that could not reach it."""
    store.backing.report_suspect("web", backend.id)
    return True
