"""The slots of backends with `max_connections` that one worker holds for its requests in a pool.

A request goes to such a backend only with a slot. Slots are leased from the store for the worker, not for a request: a
slot that becomes free serves the next request of the worker without a trip, unless requests wait elsewhere. Requests
without a free slot queue first in, first out; a message tells the other workers that slots became free. The store gets
totals only, so a repeated call does no harm.

Without the store a worker keeps the slots that it was granted until the lease expires. After that it has its share of
all slots, by the number of workers as last read, and at least one of each backend.
"""

from __future__ import annotations

import _thread
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lbflask.core.model import Backend
from lbflask.core.slots import TOLERANCE, BackendSlots, Grant, QueuePolicy, SlotDemand
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.slot_waiter import ClientGone, OnGone, QueueFull, QueueTimeout, SlotWaiter
from lbflask.store.ports import DEAD_AFTER

#: Seconds for which no further slot of a full backend is requested, unless a message says that one is free.
FULL_FOR = 0.02
#: Seconds between two renewals of the leases, which expire after DEAD_AFTER.
RENEW_EVERY = 1.0
#: Seconds between two calls of waiting requests for slots that other workers hold idle.
CALL_EVERY = 1.0


@dataclass(slots=True)
class _PoolBackendSlots:
    """Slots of one backend: their number, those held by the worker, those in use by requests, those idle since the last
    renewal; requests queued for one, and requests about to take one.
    """

    limit: int
    held: int = 0
    used: int = 0
    waiting: int = 0
    arriving: int = 0
    idle: int = 0
    full_until: float = -math.inf

    def use(self) -> bool:
        """Use one of the slots that are held; False if all are in use."""
        if self.held <= self.used:
            return False
        self.used += 1
        self.idle = min(self.idle, self.held - self.used)
        return True

    def mark_idle(self) -> None:
        """Count the slots that are not in use as idle from now on."""
        self.idle = self.held - self.used


class PoolSlots:
    """The slots of one pool. Threads and greenlets may share it. `clock` is steady, in seconds."""

    def __init__(self, pool: str, fleet: Fleet, clock: Callable[[], float], start_renewer: Callable[[], None]) -> None:
        self._pool = pool
        self._fleet = fleet
        self._clock = clock
        self._start_renewer = start_renewer
        self._lock = _thread.RLock()  # nothing blocks while it is held
        self._trip_lock = threading.Lock()  # one trip at a time, so that an older total never arrives last
        self._backends: dict[str, _PoolBackendSlots] = {}
        self._queue: list[SlotWaiter] = []
        self._elsewhere = 0  # requests that wait at other workers
        self._degraded = False  # the store did not answer
        self._leased_until = self._share_from = -math.inf
        self._renewed_at = self._called_at = self._offered_at = -math.inf

    def __repr__(self) -> str:
        return f"<PoolSlots of {self._pool}: used={self.used} waiting={self.waiting} elsewhere={self._elsewhere}>"

    def take(self, backend: Backend) -> bool:
        """Take a slot of the backend; False if none is free. Costs a trip when the worker holds no idle one."""
        with self._lock:
            slots = self._slots_of(backend)
            now = self._clock()
            if now < self._leased_until and slots.use():
                return True
            if slots.waiting or now < slots.full_until:
                return False
            slots.arriving += 1
        self._start_renewer()
        try:
            with self._trip_lock:
                # Another request may have leased some meanwhile.
                if slots.held <= slots.used or self._clock() >= self._leased_until:
                    self._renew()
        finally:
            with self._lock:
                slots.arriving -= 1
        with self._lock:
            if slots.use():
                return True
            slots.full_until = self._clock() + FULL_FOR
        return False

    def wait(self, backends: Sequence[Backend], queue: QueuePolicy, seconds: float, on_gone: OnGone | None) -> str:
        """Take a slot of one of the backends as soon as one is free: the id of that backend.

        Waits up to the time-out of the queue and up to `seconds`. Raises QueueFull, QueueTimeout, or ClientGone when
        the callback that is passed to `on_gone` was called.
        """
        waiter = self._enqueue(backends, queue)
        try:
            self._register(waiter, queue)
            if on_gone is not None:
                on_gone(waiter.abandon)
            waiter.notified.wait(max(0.0, min(queue.timeout, seconds)))
            if waiter.gone:
                raise ClientGone
            if not self._dequeue(waiter):
                raise QueueTimeout
        except BaseException:
            if self._dequeue(waiter):
                self.release(waiter.granted)
            raise
        finally:
            if on_gone is not None:
                on_gone(None)
        return waiter.granted

    def release(self, backend: str) -> None:
        """Release a slot of the backend: to the first request in the queue, or to a request that waits elsewhere."""
        with self._lock:
            slots = self._backends.get(backend)
            if slots is None or not slots.used:
                return
            slots.used -= 1
            if self._degraded:
                self._take_share()
            if not self._is_wanted_elsewhere():
                self._assign()
                return
        with self._trip_lock:
            with self._lock:
                must_renew = self._is_wanted_elsewhere()  # another request may have renewed meanwhile
                if not must_renew:
                    self._assign()
                else:
                    self._offered_at = self._clock()
            if must_renew:
                self._renew()

    def tick(self, *, notified: bool) -> None:
        """Renew leases, request slots for the queue, release idle ones, as due. `notified` follows a message."""
        with self._lock:
            now = self._clock()
            all_slots = self._backends.values()
            back = self._degraded and not self._fleet.degraded
            if self._degraded:
                self._take_share()
            due = now - self._renewed_at >= RENEW_EVERY and any(slots.held for slots in all_slots)
            for slots in all_slots if notified else ():
                slots.full_until = -math.inf
                slots.mark_idle()
            if not (self._queue or due or back or any(slots.idle for slots in all_slots)):
                self._mark_idle()
                return
            call = bool(self._queue) and not notified and now - self._called_at >= CALL_EVERY
        with self._trip_lock:
            self._renew(release_idle=True, call=call)

    @property
    def is_active(self) -> bool:
        """Whether slots are held or requests wait."""
        return bool(self._queue) or any(slots.held for slots in self._backends.values())

    def release_idle(self) -> None:
        """Release the slots that no request uses."""
        self._mark_idle()
        if self.is_active:
            with self._trip_lock:
                self._renew(release_idle=True)

    @property
    def waiting(self) -> int:
        """Requests in the queue of this worker."""
        return len(self._queue)

    @property
    def used(self) -> dict[str, int]:
        """Slots that requests of this worker use, by backend."""
        with self._lock:
            return {backend: slots.used for backend, slots in self._backends.items() if slots.used}

    def _mark_idle(self) -> None:
        with self._lock:
            for slots in self._backends.values():
                slots.mark_idle()

    def _slots_of(self, backend: Backend) -> _PoolBackendSlots:
        slots = self._backends.get(backend.id)
        if slots is None:
            slots = self._backends[backend.id] = _PoolBackendSlots(backend.max_connections)
        slots.limit = backend.max_connections
        return slots

    def _is_wanted_elsewhere(self) -> bool:
        """Whether a slot that became free may belong to a request at another worker."""
        if not self._elsewhere:
            return False
        if self._queue:
            return self._clock() - self._offered_at >= TOLERANCE
        return any(slots.held > slots.used for slots in self._backends.values())

    def _enqueue(self, backends: Sequence[Backend], queue: QueuePolicy) -> SlotWaiter:
        """Append a request to the queue. Raises QueueFull, by the counts as last read."""
        now = self._clock()
        waiter = SlotWaiter([backend.id for backend in backends], now)
        with self._lock:
            elsewhere = self._elsewhere if now - self._renewed_at < FULL_FOR else 0
            if len(self._queue) + elsewhere >= self._room(queue):
                raise QueueFull
            self._queue.append(waiter)
            for backend in backends:
                self._slots_of(backend).waiting += 1
        return waiter

    def _register(self, waiter: SlotWaiter, queue: QueuePolicy) -> None:
        """Report the request to the store. Raises QueueFull if the fleet's queue has reached its limit."""
        self._start_renewer()
        with self._trip_lock:
            self._renew(call=len(self._queue) == 1, room=self._room(queue))
        with self._lock:
            if waiter.granted or self._queue.index(waiter) + 1 + self._elsewhere <= self._room(queue):
                return
            self._remove(waiter)  # the store has not counted it, unless others wait here too
            if self._queue:
                waiter.leave()
        raise QueueFull

    def _room(self, queue: QueuePolicy) -> int:
        return queue.length // self._fleet.workers if self._leased_until == math.inf else queue.length

    def _dequeue(self, waiter: SlotWaiter) -> bool:
        """Whether the request was granted a slot; one without leaves the queue, and the store is informed."""
        with self._lock:
            if waiter.granted or waiter.left:
                return bool(waiter.granted)
            if waiter in self._queue:
                self._remove(waiter)
            waiter.leave()
        with self._trip_lock:
            self._renew()
        return False

    def _remove(self, waiter: SlotWaiter) -> None:
        self._queue.remove(waiter)
        for id_ in waiter.backends:
            self._backends[id_].waiting -= 1

    def _renew(self, *, release_idle: bool = False, call: bool = False, room: int = 1 << 30) -> None:
        """Renew the leases with the store, and assign what it grants. Called under the trip lock.

        `release_idle` releases slots that were idle since the last renewal; they are not used during the call.
        """
        grant: Grant | None = None
        places: Sequence[BackendSlots] = ()
        if not self._fleet.degraded:
            with self._lock:
                demand = self._demand(release_idle, call, room)
            places, worker, before = demand.places, self._fleet.worker_id, self._clock()
            grant = self._fleet.query(lambda store: store.hold_slots(self._pool, worker, demand))
        with self._lock:
            self._renewed_at = self._clock()
            if grant is None:
                if not self._degraded:
                    self._degraded, self._share_from = True, self._renewed_at + DEAD_AFTER
                self._take_share()
            else:
                self._degraded, self._elsewhere, self._leased_until = False, grant.elsewhere, before + DEAD_AFTER
                for place, held in zip(places, grant.held, strict=True):
                    self._backends[place.backend].held = held
            self._assign()
            for id_, slots in list(self._backends.items()):
                slots.mark_idle()
                if not (slots.held or slots.used or slots.waiting or slots.arriving):
                    del self._backends[id_]

    def _demand(self, release_idle: bool, call: bool, room: int) -> SlotDemand:
        """The slots to renew and to request. Called under the lock."""
        now = self._clock()
        before = sum(slots.held for slots in self._backends.values())
        nothing_idle = bool(self._elsewhere) or self._degraded or now >= self._leased_until
        all_slots = []
        for id_, slots in self._backends.items():
            if nothing_idle or release_idle:
                slots.held = slots.used if nothing_idle else max(slots.used, slots.held - slots.idle)
            wanted = slots.waiting or slots.arriving
            if slots.held or wanted:
                all_slots.append(BackendSlots(id_, slots.held, slots.limit if wanted else slots.held))
        waiting = len(self._queue)
        waited = now - self._queue[0].since if self._queue else 0.0
        extra = waiting + sum(slots.arriving for slots in self._backends.values())
        if call:
            self._called_at = now
        return SlotDemand(all_slots, extra, waiting, waited, room, before, call)

    def _take_share(self) -> None:
        """Without the store, after all its leases have expired: hold this worker's share of all slots."""
        if self._clock() < self._share_from:
            return
        self._elsewhere, self._leased_until = 0, math.inf
        workers = self._fleet.workers
        for slots in self._backends.values():
            slots.held = max(slots.used, 1, slots.limit // workers)

    def _assign(self) -> None:
        """Assign free slots to the queue in order, unless the leases have expired."""
        if self._clock() >= self._leased_until:
            return
        free = {id_ for id_, slots in self._backends.items() if slots.held > slots.used and slots.waiting}
        for waiter in list(self._queue) if free else ():
            id_ = next((id_ for id_ in waiter.backends if id_ in free), "")
            if id_:
                slots = self._backends[id_]
                slots.use()
                self._remove(waiter)
                waiter.grant(id_)
                if slots.held == slots.used:
                    free.discard(id_)
                    if not free:
                        return
