"""Slots of backends with `max_connections`, as one worker holds them for its requests in a pool.

A request goes to such a backend only with a slot. Slots are leased from the store for the worker, not for a request:
one that becomes free serves the next request here without a trip, as long as nobody waits elsewhere. Whoever finds none
stands in line; the line is served in order, and other workers' lines are told of what becomes free by a message. All
that the store is told are totals, so what is told twice does no harm.

Without the store a worker has what it was granted, for as long as the store would keep that for it; after so long all
leases have run out, and it has its part of all slots, by the number of workers known last, and at least one.
"""

from __future__ import annotations

import _thread
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lbflask.core.model import Backend
from lbflask.core.slots import TOLERANCE, Grant, QueuePolicy, SlotDemand
from lbflask.core.slots import BackendSlots as Asked
from lbflask.fleet.fleet import Fleet
from lbflask.store.ports import DEAD_AFTER

NEVER = math.inf
#: A backend without a free slot is not asked for another for so many seconds, unless one is heard of.
FULL_FOR = 0.02
#: What is held is told again after so many seconds, since who is silent for longer holds nothing any more.
RENEW_EVERY = 1.0
#: Who waits calls for slots that others hold idle, so often.
CALL_EVERY = 1.0

OnGone = Callable[[Callable[[], None] | None], None]


class QueueFull(Exception):
    """As many requests wait as may."""


class QueueTimeout(Exception):
    """No slot became free in time."""


class ClientGone(Exception):
    """The client hung up while its request waited."""


@dataclass(slots=True)
class _PoolBackendSlots:
    """A backend: how many slots it has, we hold, and our requests use; how many of these stand in line for one, and how
    many have just come; and how many were `spare` all the time since we looked last.
    """

    most: int
    held: int = 0
    used: int = 0
    lined_up: int = 0
    new: int = 0
    spare: int = 0
    full_until: float = float("-inf")

    def use(self) -> bool:
        """Use one of the slots that are held; False if all are in use."""
        if self.held <= self.used:
            return False
        self.used += 1
        self.spare = min(self.spare, self.held - self.used)
        return True


@dataclass(slots=True, eq=False)
class _Waiter:
    """A request in line, and the backends of which it wants a slot. It is told when it has got one, or when its client
    is gone; `left` is when it is out of line without one.
    """

    backends: Sequence[str]
    since: float
    notified: threading.Event = field(default_factory=threading.Event)
    got: str = ""
    gone: bool = False
    left: bool = False

    def leave(self) -> None:
        """The client has gone."""
        self.gone = True
        self.notified.set()


class PoolSlots:
    """The slots of one pool. Threads and greenlets may share it. `clock` is steady, in seconds."""

    def __init__(self, pool: str, fleet: Fleet, clock: Callable[[], float], begin: Callable[[], None]) -> None:
        self._pool = pool
        self._fleet = fleet
        self._clock = clock
        self._begin = begin
        self._lock = _thread.RLock()  # nobody waits for anything under it
        self._asking = threading.Lock()  # one trip at a time, so that the store is never told an older total last
        self._places: dict[str, _PoolBackendSlots] = {}
        self._line: list[_Waiter] = []
        self._elsewhere = 0
        self._alone = False  #: the store did not answer
        self._leased_until = self._share_from = float("-inf")
        self._asked = self._called = self._offered = float("-inf")

    def take(self, backend: Backend) -> bool:
        """Take a slot of the backend; False if none is free. Costs a trip when the worker has none at hand."""
        with self._lock:
            place = self._place(backend)
            now = self._clock()
            if now < self._leased_until and place.use():
                return True
            if place.lined_up or now < place.full_until:
                return False
            place.new += 1
        self._begin()
        try:
            with self._asking:
                # Another may have brought some while we waited for our turn.
                if place.held <= place.used or self._clock() >= self._leased_until:
                    self._ask()
        finally:
            with self._lock:
                place.new -= 1
        with self._lock:
            if place.use():
                return True
            place.full_until = self._clock() + FULL_FOR
        return False

    def wait(self, backends: Sequence[Backend], queue: QueuePolicy, seconds: float, on_gone: OnGone | None) -> str:
        """Take a slot of one of the backends as soon as there is one: the id of that backend.

        Waits at most as long as the queue allows, and `seconds`. Raises QueueFull, WaitedInVain, or ClientGone once
        `on_gone` has called.
        """
        waiter = self._join(backends, queue)
        try:
            self._announce(waiter, queue)
            if on_gone is not None:
                on_gone(waiter.leave)
            waiter.notified.wait(max(0.0, min(queue.timeout, seconds)))
            if waiter.gone:
                raise ClientGone
            if not self._leave(waiter):
                raise QueueTimeout
        except BaseException:
            if self._leave(waiter):
                self.let_go(waiter.got)
            raise
        finally:
            if on_gone is not None:
                on_gone(None)
        return waiter.got

    def let_go(self, backend: str) -> None:
        """A slot of the backend is not used any more: the next in line has it, or whoever waits elsewhere."""
        with self._lock:
            place = self._places.get(backend)
            if place is None or not place.used:
                return
            place.used -= 1
            if self._alone:
                self._share_out()
            if not self._should_ask():
                self._deal()
                return
        with self._asking:
            with self._lock:
                asks = self._should_ask()  # another may have, while we waited for our turn
                if not asks:
                    self._deal()
                else:
                    self._offered = self._clock()
            if asks:
                self._ask()

    def tick(self, *, heard: bool) -> None:
        """What is due from time to time, or when there is news of slots: to renew, ask again, and give back."""
        with self._lock:
            now = self._clock()
            places = self._places.values()
            back = self._alone and not self._fleet.degraded
            if self._alone:
                self._share_out()
            due = now - self._asked >= RENEW_EVERY and any(place.held for place in places)
            for place in places:
                if heard:
                    place.full_until = float("-inf")
                    place.spare = place.held - place.used
            if not (self._line or due or back or any(place.spare for place in places)):
                for place in places:
                    place.spare = place.held - place.used
                return
            call = bool(self._line) and not heard and now - self._called >= CALL_EVERY
        with self._asking:
            self._ask(tidy=True, call=call)

    @property
    def busy(self) -> bool:
        """Whether there is anything to look after."""
        return bool(self._line) or any(place.held for place in self._places.values())

    def give_back(self) -> None:
        """Give back what no request uses."""
        with self._lock:
            for place in self._places.values():
                place.spare = place.held - place.used
        if self.busy:
            with self._asking:
                self._ask(tidy=True)

    @property
    def waiting(self) -> int:
        """Requests in line at this worker."""
        return len(self._line)

    @property
    def used(self) -> dict[str, int]:
        """Slots that requests of this worker use, by backend."""
        with self._lock:
            return {backend: place.used for backend, place in self._places.items() if place.used}

    def _place(self, backend: Backend) -> _PoolBackendSlots:
        place = self._places.get(backend.id)
        if place is None:
            place = self._places[backend.id] = _PoolBackendSlots(backend.max_connections)
        place.most = backend.max_connections
        return place

    def _should_ask(self) -> bool:
        """Whether a slot that became free here may be somebody else's, who waits elsewhere."""
        if not self._elsewhere:
            return False
        if self._line:
            return self._clock() - self._offered >= TOLERANCE
        return any(place.held > place.used for place in self._places.values())

    def _join(self, backends: Sequence[Backend], queue: QueuePolicy) -> _Waiter:
        """Stand in line, if there is room as far as is known."""
        now = self._clock()
        waiter = _Waiter([backend.id for backend in backends], now)
        with self._lock:
            elsewhere = self._elsewhere if now - self._asked < FULL_FOR else 0
            if len(self._line) + elsewhere >= self._room(queue):
                raise QueueFull
            self._line.append(waiter)
            for backend in backends:
                self._place(backend).lined_up += 1
        return waiter

    def _announce(self, waiter: _Waiter, queue: QueuePolicy) -> None:
        """Tell the fleet of one more who waits. Raises QueueFull if it is one too many."""
        self._begin()
        with self._asking:
            self._ask(call=len(self._line) == 1, room=self._room(queue))
        with self._lock:
            if waiter.got or self._line.index(waiter) + 1 + self._elsewhere <= self._room(queue):
                return
            self._out_of_line(waiter)  # the store has not counted it, unless there are more of its kind
            waiter.left = bool(self._line)
        raise QueueFull

    def _room(self, queue: QueuePolicy) -> int:
        return queue.length // self._fleet.workers if self._leased_until == NEVER else queue.length

    def _leave(self, waiter: _Waiter) -> bool:
        """Whether it has got a slot. Who has not leaves the line, and the others must not wait for it."""
        with self._lock:
            if waiter.got or waiter.left:
                return bool(waiter.got)
            if waiter in self._line:
                self._out_of_line(waiter)
            waiter.left = True
        with self._asking:
            self._ask()
        return False

    def _out_of_line(self, waiter: _Waiter) -> None:
        self._line.remove(waiter)
        for id_ in waiter.backends:
            self._places[id_].lined_up -= 1

    def _ask(self, *, tidy: bool = False, call: bool = False, room: int = 1 << 30) -> None:
        """Tell the store what we hold and want, and deal out what it grants. For one at a time.

        `tidy` gives back what was not used for a while. What is given back is not used meanwhile.
        """
        found: Grant | None = None
        asked: Sequence[str] = ()
        if not self._fleet.degraded:
            with self._lock:
                asked, demand = self._demand(tidy, call, room)
            worker, before = self._fleet.worker_id, self._clock()
            found = self._fleet.query(lambda store: store.hold_slots(self._pool, worker, demand))
        with self._lock:
            self._asked = self._clock()
            if found is None:
                if not self._alone:
                    self._alone, self._share_from = True, self._asked + DEAD_AFTER
                self._share_out()
            else:
                self._alone, self._elsewhere, self._leased_until = False, found.elsewhere, before + DEAD_AFTER
                for id_, held in zip(asked, found.held, strict=True):
                    self._places[id_].held = held
            self._deal()
            for id_, place in list(self._places.items()):
                place.spare = place.held - place.used
                if not (place.held or place.used or place.lined_up or place.new):
                    del self._places[id_]

    def _demand(self, tidy: bool, call: bool, room: int) -> tuple[Sequence[str], SlotDemand]:
        """What there is to say to the store, and of which backends."""
        now = self._clock()
        before = sum(place.held for place in self._places.values())
        nothing_idle = bool(self._elsewhere) or self._alone or now >= self._leased_until
        places = []
        for id_, place in self._places.items():
            if nothing_idle or tidy:
                place.held = place.used if nothing_idle else max(place.used, place.held - place.spare)
            wanted = place.lined_up or place.new
            if place.held or wanted:
                places.append(Asked(id_, place.held, place.most if wanted else place.held))
        waiting = len(self._line)
        waited = now - self._line[0].since if self._line else 0.0
        extra = waiting + sum(place.new for place in self._places.values())
        if call:
            self._called = now
        return [place.backend for place in places], SlotDemand(places, extra, waiting, waited, room, before, call)

    def _share_out(self) -> None:
        """Without the store, and when nobody has a lease from it any more: our part of all slots."""
        if self._clock() < self._share_from:
            return
        self._elsewhere, self._leased_until = 0, NEVER
        workers = self._fleet.workers
        for place in self._places.values():
            place.held = max(place.used, 1, place.most // workers)

    def _deal(self) -> None:
        """Give free slots to those in line, the first first, unless they may be somebody else's by now."""
        if self._clock() >= self._leased_until:
            return
        free = {id_ for id_, place in self._places.items() if place.held > place.used and place.lined_up}
        for waiter in list(self._line) if free else ():
            id_ = next((id_ for id_ in waiter.backends if id_ in free), "")
            if id_:
                place = self._places[id_]
                place.use()
                if place.held == place.used:
                    free.discard(id_)
                self._out_of_line(waiter)
                waiter.got = id_
                waiter.notified.set()
                if not free:
                    return
