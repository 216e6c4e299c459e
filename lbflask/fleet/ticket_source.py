"""The tickets of one pool for one worker: the fleet's, from blocks of its machine or one by one, or local ones."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from lbflask.core.tickets import RETURN_AFTER, TicketBlock, TicketCounts, block_size
from lbflask.fleet.shared_turns import PoolTurns
from lbflask.fleet.store_link import StoreLink
from lbflask.store.ports import WorkerStore

#: Seconds that a request waits for a lease that another worker makes, and between two looks for it.
PATIENCE: Final = 0.5
POLL_INTERVAL: Final = 0.0002
#: Seconds for which a worker that waited in vain takes its tickets by itself: the other one may be frozen.
ALONE_FOR: Final = 5.0
#: A block of local tickets is so many times smaller than one of the store's, so that all are the fleet's again soon
#: after the store is back.
LOCAL_PART: Final = 16
#: Turns that a request takes at most: one whose block was replaced meanwhile has no ticket.
MAX_TURNS: Final = 3


class TicketSource:
    """Threads and greenlets may share it. `wake` is called when `renew` is due. `workers` gives those of the fleet.

    Without the store the tickets of a machine go on from its last one, or begin at random.
    """

    def __init__(
        self,
        *,
        pool: str,
        link: StoreLink,
        strict: bool,
        turns: PoolTurns,
        wake: Callable[[], None] = lambda: None,
        workers: Callable[[], int] = lambda: 1,
    ) -> None:
        self.counts = TicketCounts()
        self._strict = strict
        self._pool = pool
        self._link = link
        self._turns = turns
        self._take_turn = turns.take
        self._wake = wake
        self._workers = workers
        self._block = TicketBlock(0, 0, 0)
        self._is_due = self._is_expired = False
        self._local = random.randrange(1 << 30)
        self._alone_until = 0.0
        self._lock = threading.Lock()
        self._take_one = partial(self._take, 1)

    def __repr__(self) -> str:
        return f"<TicketSource of {self._pool} {self.counts}>"

    def set_strict(self, strict: bool) -> None:
        """Whether each ticket takes a trip of its own from now on, which keeps the order exact for the fleet."""
        self._strict = strict

    @property
    def shares_turns(self) -> bool:
        """Whether the workers of the machine share the turns."""
        return self._turns.place is not None

    def set_turns(self, turns: PoolTurns) -> None:
        """Go on with these turns, and leave those before. What is left of their newest block is not used."""
        with self._lock:  # leases begin and end with the same turns
            left, self._turns = self._turns, turns
            self._take_turn = turns.take
            self._block = TicketBlock(0, 0, 0)
            left.leave()

    def next(self) -> int:
        """The next ticket: the fleet's while the store answers, else a local one."""
        if self._strict:
            ticket = self._link.query(self._take_one)
            if ticket is not None:
                return ticket
        turn = self._take_turn()
        block = self._block
        if block.first <= turn < block.end:
            if turn == block.refill:
                self._set_due()
            return turn + block.offset
        return self._beyond(turn)

    def renew(self) -> None:
        """What is due in the background: lease the next block, or return the rest of one that lasts too long.

        Raises StoreUnavailable.
        """
        due, expired = self._is_due, self._is_expired
        leased_at = self._turns.leased_at
        idle = bool(leased_at) and time.monotonic() - leased_at > RETURN_AFTER
        if not expired and (self._link.degraded or not (due or idle)):
            return
        with self._lock:
            turns = self._turns
            if turns.acquire():
                try:
                    self._is_due = self._is_expired = False
                    if expired:
                        self._return_rest(lambda _ticket, _count: True)
                    elif due:
                        self._lease_ahead()
                    else:
                        self._return_rest(partial(self._link.store.return_tickets, self._pool))
                finally:
                    turns.release()

    def expire(self) -> None:
        """The store is lost: from the next call of `renew` on, no ticket is used that was leased before.

        The store may return without its data, and issue those tickets to others.
        """
        self._is_expired = True

    def _set_due(self) -> None:
        self._is_due = True
        self._wake()

    def _beyond(self, turn: int) -> int:
        """The ticket of a turn that the block at hand does not have."""
        for _ in range(MAX_TURNS):
            block = self._turns.find(turn) or self._await_block(turn)
            if block is not None:
                self._block = block
                if turn == block.refill:
                    self._set_due()
                return turn + block.offset
            if time.monotonic() < self._alone_until:
                break
            turn = self._take_turn()
        ticket = self._link.query(self._take_one)
        if ticket is None:
            self._local += 1
            self.counts.count_local()
            ticket = self._local
        return ticket

    def _await_block(self, turn: int) -> TicketBlock | None:
        """The block of the turn, leased here or by another worker; None if it has left the ring, or came too late."""
        with self._lock:
            turns, began = self._turns, time.monotonic()
            while self._alone_until < began:
                acquired = turns.acquire()
                try:
                    # With the lock: a request that waited for it while another one leased must not lease too.
                    block = turns.find(turn)
                    if acquired and block is None:
                        block = self._lease(turn)
                    if acquired or block is not None:
                        return block
                finally:
                    if acquired:
                        turns.release()
                time.sleep(POLL_INTERVAL)
                if time.monotonic() - began > PATIENCE:
                    self._alone_until = time.monotonic() + ALONE_FOR
        return None

    def _lease(self, turn: int) -> TicketBlock | None:
        """A block for all turns that wait and the next ones; None if the block of the turn has left the ring.

        One trip for all: a store that is slow then makes blocks larger, not queues longer.
        """
        turns = self._turns
        newest, latest, now = turns.newest(), turns.latest(), time.monotonic()
        if turn < newest.end:
            return None
        waiting = latest - newest.end + 1
        size = block_size(turns.rate(now, latest), self._workers())
        block = None
        if not self._link.degraded and not turns.is_store_away(now):
            block = self._link.query(partial(self._leased, newest, waiting + size - 1, size > 1))
            turns.set_store_away(now, away=block is None)
        if block is None:
            count = waiting + size // LOCAL_PART
            block = newest.extended(count, newest.offset, refills=False)
            self.counts.count_local(count)
            turns.publish(block)
        return block

    def _lease_ahead(self) -> None:
        turns = self._turns
        newest, latest, now = turns.newest(), turns.latest(), time.monotonic()
        size = block_size(turns.rate(now, latest), self._workers())
        if latest >= newest.refill and size > 1:  # else another worker was faster, or the traffic has ended
            self._leased(newest, max(0, latest - newest.end + 1) + size, True, self._link.store)

    def _leased(self, newest: TicketBlock, count: int, refills: bool, store: WorkerStore) -> TicketBlock:
        """Lease so many tickets for the turns behind the newest block, and publish them."""
        offset = self._take(count, store) - newest.end
        block = newest.extended(count, offset, refills=refills)
        self._turns.publish(block, time.monotonic())
        return block

    def _return_rest(self, take_back: Callable[[int, int], bool]) -> None:
        """Return the tickets of turns that are not taken. `take_back` is called with the first and their number. If
        it returns False, since others have leased meanwhile, the next turns have them: to discard them would put
        backends out of balance.
        """
        turns = self._turns
        newest = turns.newest()
        rest = newest.end - 1 - turns.latest()
        if rest <= 0 or newest.end - rest < newest.first:  # the present turn is in an older block
            return
        last = turns.skip(rest)
        turns.uncount(rest)
        first = last - rest + 1  # of the turns that belong to no request now
        count, ticket = newest.end - first, first + newest.offset
        kept = 0 if count <= 0 or take_back(ticket, count) else count
        turns.publish(TicketBlock(last + 1, last + 1 + kept, ticket - last - 1))

    def _take(self, count: int, store: WorkerStore) -> int:
        ticket = store.take_tickets(self._pool, count)
        self.counts.lease(count)
        return ticket
