"""Looking at backends again and again, each at its own pace; ten thousand of them without falling behind.

One loop and a schedule stand for all, and only a look under way has a task. No backend is looked at twice at once. Few
looks begin in one turn of the event loop, so that answers are taken off while others are asked: a checker that is out
of breath is late, but does not take its own slowness for that of the backends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from lbflask.checker.due_queue import DueQueue
from lbflask.core.model import Backend

#: Looks that begin in one turn of the event loop.
BEGIN_AT_ONCE = 32

Look = Callable[[Backend, float], Coroutine[Any, Any, float]]


class ProbeScheduler:
    """Looks at each backend at once, and then whenever it is due.

    `look` is given the backend and by how many seconds it is late, and says after how many seconds from its beginning
    the next look is due. At most `most` looks are under way.
    """

    def __init__(self, backends: Iterable[Backend], look: Look, *, most: int) -> None:
        self._backends = {backend.id: backend for backend in backends}
        self._look = look
        self._most = most
        self._due = DueQueue()
        self._under_way: dict[str, asyncio.Task[float]] = {}
        self._again: set[str] = set()
        self._unseen = set(self._backends)
        self._wake = asyncio.Event()
        self._stopping = False
        self._broken: BaseException | None = None
        #: The first round is over, or nothing more will come of it.
        self.first = asyncio.Event()

    @property
    def whole(self) -> bool:
        """Whether each backend was looked at."""
        return not self._unseen

    async def run(self) -> None:
        """Look until stopped, and wait for what is under way. Raises what a look has raised."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for name in self._backends:
            self._due.put(name, now)
        if not self._backends:
            self.first.set()  # a round of nobody is over at once
        try:
            while not self._stopping:
                self._begin(loop.time())
                await self._until_something_happens(loop)
                self._raise()
            while self._under_way:
                await asyncio.wait(self._under_way.values())
            self._raise()
        finally:
            tasks = list(self._under_way.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.first.set()

    def stop(self) -> None:
        """No new looks; `run` ends with those under way."""
        self._stopping = True
        self._wake.set()

    def add(self, backend: Backend) -> None:
        """Look at this backend too, from now on; instead of the one with its id, if there is one."""
        self._backends[backend.id] = backend
        if backend.id in self._under_way:
            self._again.add(backend.id)
        else:
            self._due.put(backend.id, asyncio.get_running_loop().time())
        self._wake.set()

    def drop(self, name: str) -> None:
        """Look at this backend no more; a look under way ends by itself."""
        self._backends.pop(name, None)
        self._due.drop(name)
        self._again.discard(name)
        self._seen(name)

    def hurry(self, name: str) -> None:
        """Look at the backend now; once more, if it is being looked at."""
        if name in self._under_way:
            self._again.add(name)
        elif name in self._backends:
            self._due.put(name, asyncio.get_running_loop().time())
            self._wake.set()

    def _begin(self, now: float) -> None:
        for _ in range(min(BEGIN_AT_ONCE, self._most - len(self._under_way))):
            taken = self._due.take(now)
            if taken is None:
                return
            name, late = taken
            task = asyncio.create_task(self._look(self._backends[name], late))
            self._under_way[name] = task
            task.add_done_callback(partial(self._ended, name, now))

    def _ended(self, name: str, began: float, task: asyncio.Future[float]) -> None:
        """A look is under way until here: the loop may run between its return and this call, and begins no other."""
        del self._under_way[name]
        again = name in self._again
        self._again.discard(name)
        if not task.cancelled():
            self._broken = self._broken or task.exception()
            if name in self._backends and self._broken is None:
                now = asyncio.get_running_loop().time()
                self._due.put(name, now if again else max(now, began + task.result()))
        self._seen(name)
        self._wake.set()

    def _seen(self, name: str) -> None:
        self._unseen.discard(name)
        if not self._unseen:
            self.first.set()

    async def _until_something_happens(self, loop: asyncio.AbstractEventLoop) -> None:
        """A look ends or becomes due, or somebody hurries or stops us."""
        due = self._due.next()
        full = len(self._under_way) >= self._most
        timer = None if due is None or full else loop.call_at(due, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()
        self._wake.clear()

    def _raise(self) -> None:
        if self._broken is not None:
            raise self._broken
