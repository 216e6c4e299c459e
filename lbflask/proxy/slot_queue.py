"""Slots for the backends of a plan, where some limit their requests (`max_connections`).

A backend without a free slot is skipped, which is neither an attempt nor a failure. When only such backends are left,
the request waits for the first slot of any of them; a request with a session waits for the backend of its session.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Protocol

from lbflask.core.answers import AnswerCause
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.model import Backend
from lbflask.core.slots import QueuePolicy
from lbflask.fleet.slot_waiter import ClientGone, OnGone, QueueFull, QueueTimeout
from lbflask.fleet.slots import PoolSlots
from lbflask.fleet.traffic import Traffic
from lbflask.telemetry.debug import SWITCH, trace


class WaitingRequest(Protocol):
    """A request, which may wait for slots with `may_queue`, until its `deadline` in seconds of the steady clock."""

    request_id: str
    may_queue: bool
    deadline: float

    def add_wait(self, seconds: float) -> None:
        """Note that it has waited so long for a slot, whether it got one or not."""
        ...


class SlotQueue:
    """The requests of one pool that wait for slots. `clock` is monotonic, in seconds."""

    def __init__(self, slots: PoolSlots, traffic: Traffic, queue: QueuePolicy, clock: Callable[[], float]) -> None:
        self._slots = slots
        self._traffic = traffic
        self._queue = queue
        self._clock = clock

    def __repr__(self) -> str:
        return f"SlotQueue({self._queue})"

    def turns(
        self,
        backends: Iterable[Backend],
        request: WaitingRequest,
        sticky_backend: Backend | None,
        on_gone: OnGone | None,
    ) -> Generator[Backend, None, None]:
        """The backends to try, each when the request may go there. Raises Fault when the wait for a slot is in vain.

        The generator holds the slot of the backend that it gave last, until the next one is asked for or `close`.
        `on_gone` registers a callback for the end of the client's connection.
        """
        full: list[Backend] = []
        for backend in backends:
            if not backend.max_connections:
                yield backend
            elif self._slots.take(backend):
                yield from self._with_slot(backend)
            elif backend is sticky_backend:
                self._wait(request, [backend], on_gone)
                yield from self._with_slot(backend)
            else:
                self._traffic.passed_over(backend.id)
                full.append(backend)
        while full and request.may_queue:
            free_id = self._wait(request, full, on_gone)
            backend = next(backend for backend in full if backend.id == free_id)
            full.remove(backend)
            yield from self._with_slot(backend)

    def _with_slot(self, backend: Backend) -> Generator[Backend, None, None]:
        try:
            yield backend
        finally:
            self._slots.release(backend.id)

    def _wait(self, request: WaitingRequest, full: list[Backend], on_gone: OnGone | None) -> str:
        """The id of the first backend that has a free slot, which the request then holds."""
        began = self._clock()
        seconds = request.deadline - began
        if SWITCH.enabled:
            trace(request.request_id, "queued", full=[backend.id for backend in full])
        try:
            return self._slots.wait(full, self._queue, seconds, on_gone)
        except QueueFull:
            cause, reason = AnswerCause.QUEUE_FULL, "all backends are full, and as many requests wait as may"
        except QueueTimeout:
            cause, waited = AnswerCause.QUEUE_TIMEOUT, min(self._queue.timeout, seconds)
            reason = f"all backends are full, and none became free within {waited:g} s"
        except ClientGone:
            raise Fault(Blame.CLIENT, Stage.CHOOSE, 499, "the client hung up") from None
        finally:
            request.add_wait(self._clock() - began)
        raise Fault(Blame.SELF, Stage.CHOOSE, 503, reason, answer_cause=cause)
