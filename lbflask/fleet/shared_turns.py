"""Turns and blocks of tickets that the workers of one machine share, in memory that forked processes inherit.

The turns of a pool are the position of a descriptor that all workers have from their master: lseek(2) adds to it and
returns the sum, atomically for a regular file (POSIX.1-2024, 2.9.7), so that a turn costs one short system call and no
lock that a worker could keep. Blocks are published in a ring, by the worker that holds the pool's
record lock (fcntl(2)), which the kernel releases however the worker ends. A reader needs no lock: each entry has a
checksum.

A table maps pools to places of turns and blocks. Each worker that uses a place holds a shared record lock, so that a
place which nobody uses goes to another pool. A worker that is stopped while it has the table costs the others a short
wait: they count their own turns, and share them when they have the table.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import random
import tempfile
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Final

from lbflask.core.tickets import RateEstimator, TicketBlock

#: Pools that a reload may add to those of the start; further ones have turns of each worker alone.
SPARE_POOLS: Final = 8
#: Pools of an instance that may share turns at most: each takes a descriptor in every worker.
MAX_POOLS: Final = 256
#: Blocks that can be looked up; a worker that was away for longer takes a new turn.
RING: Final = 64
#: Seconds for which all workers go without a store that one of them did not reach. Meanwhile each notices by itself.
AWAY_FOR: Final = 1.0
#: Seconds that a worker waits for the table of pools, which others have for microseconds, and between two looks.
TABLE_PATIENCE: Final = 0.5
POLL_INTERVAL: Final = 0.0005
#: Seconds for which a worker that waited in vain waits no more.
TABLE_AWAY_FOR: Final = 5.0

#: Words of eight bytes in the part of a pool.
_POOL: Final = 0
_COUNT: Final = 1
_LEASED_AT: Final = 2
_RATE_SINCE: Final = 3
_RATE_TURN: Final = 4
_RATE_BEFORE: Final = 5
_AWAY_UNTIL: Final = 6
_AWAY_BY: Final = 7
_ENTRIES: Final = 8
_ENTRY_SIZE: Final = 5
_WORDS: Final = _ENTRIES + RING * _ENTRY_SIZE
#: Bytes of a descriptor that are locked: for the blocks of the pool; in the first descriptor, for the table of pools;
#: and, shared, by each process that uses the place.
_BLOCKS_LOCK: Final = 0
_TABLE_LOCK: Final = 1
_USERS_LOCK: Final = 2
#: In place of a pool while its place is prepared for another one; no name has this number.
_NO_POOL: Final = -1


class PoolTurns:
    """The turns of one pool, from 1, and the newest blocks. Methods that change blocks need the lock.

    `place` is where the workers of the machine find them; None for turns of this process alone.
    """

    def __init__(self, owner: SharedTurns, descriptor: int, memory: memoryview, place: int | None = None) -> None:
        self._owner = owner  # its descriptors and memory are released with it
        self.place = place
        self._fd = descriptor
        self._words = memory.cast("q")
        self._numbers = memory.cast("d")
        self._any_offset = random.randrange(1 << 30)  # so that machines without a store do not march in step
        #: The next turn. Costs a system call, and never waits for another worker.
        self.take: Callable[[], int] = partial(os.lseek, descriptor, 1, os.SEEK_CUR)
        #: The latest turn that was taken.
        self.latest: Callable[[], int] = partial(os.lseek, descriptor, 0, os.SEEK_CUR)

    def __repr__(self) -> str:
        return f"<PoolTurns latest={self.latest()} blocks={self._words[_COUNT]}>"

    def leave(self) -> None:
        """Use the turns no more. A place without users goes to another pool."""
        if self.place is not None:
            self._owner.leave(self.place)
            self.place = None

    def skip(self, count: int) -> int:
        """Take the next `count` turns; returns the last of them."""
        return os.lseek(self._fd, count, os.SEEK_CUR)

    def acquire(self) -> bool:
        """Try to get the lock, for this process; never waits. Threads of a process must exclude each other before."""
        return _acquire(self._fd, _BLOCKS_LOCK)

    def release(self) -> None:
        """Give the lock back."""
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, _BLOCKS_LOCK)

    def find(self, turn: int) -> TicketBlock | None:
        """The block of the turn; None if it has none yet, or not any more."""
        newest: int = self._words[_COUNT]
        for number in range(newest, max(0, newest - RING), -1):
            block = self._entry(number)
            if block is not None and block.first <= turn:
                return block if turn < block.end else None
        return None

    def newest(self) -> TicketBlock:
        """The newest block; an empty one before the first turn if there is none."""
        number: int = self._words[_COUNT]
        return (self._entry(number) if number else None) or TicketBlock(1, 1, self._any_offset)

    def publish(self, block: TicketBlock, leased_at: float = 0.0) -> None:
        """Make the block the newest one. `leased_at` is the time if its rest may be returned to the store."""
        words = self._words
        number: int = words[_COUNT] + 1
        at = _ENTRIES + number % RING * _ENTRY_SIZE
        words[at], words[at + 1], words[at + 2] = block.first, block.end, block.offset
        words[at + 3], words[at + 4] = block.refill, _checksum(number, block)
        self._numbers[_LEASED_AT] = leased_at
        words[_COUNT] = number  # last: a worker that ends before has published nothing

    @property
    def leased_at(self) -> float:
        """When the newest block was leased, in seconds of the steady clock; 0 if its rest cannot be returned."""
        leased_at: float = self._numbers[_LEASED_AT]
        return leased_at

    def rate(self, now: float, turn: int) -> float:
        """The requests of the machine a second, when `turn` is the latest. Needs the lock."""
        words, numbers = self._words, self._numbers
        estimator = RateEstimator(numbers[_RATE_SINCE], words[_RATE_TURN], numbers[_RATE_BEFORE])
        rate = estimator.sample(now, turn)
        numbers[_RATE_SINCE], numbers[_RATE_BEFORE] = estimator.since, estimator.before
        words[_RATE_TURN] = estimator.turn
        return rate

    def uncount(self, count: int) -> None:
        """So many turns were no requests. Needs the lock."""
        self._words[_RATE_TURN] += count

    def set_store_away(self, now: float, *, away: bool) -> None:
        """Note that this worker did not reach the store, or did. Needs the lock."""
        self._words[_AWAY_BY] = os.getpid()
        self._numbers[_AWAY_UNTIL] = now + AWAY_FOR if away else 0.0

    def is_store_away(self, now: float) -> bool:
        """Whether another worker did not reach the store a short time ago."""
        until: float = self._numbers[_AWAY_UNTIL]
        by: int = self._words[_AWAY_BY]
        return now < until and by != os.getpid()

    def _entry(self, number: int) -> TicketBlock | None:
        """None while it is being replaced."""
        words, at = self._words, _ENTRIES + number % RING * _ENTRY_SIZE
        block = TicketBlock(words[at], words[at + 1], words[at + 2], words[at + 3])
        checksum: int = words[at + 4]
        return block if checksum == _checksum(number, block) else None


class SharedTurns:
    """The turns of the pools of an instance. The master makes them; its workers inherit memory and descriptors.

    Raises OSError when the system grants no memory or descriptors.
    """

    def __init__(self, pools: int) -> None:
        self._memory = mmap.mmap(-1, pools * _WORDS * 8)
        self._descriptors: list[int] = []
        weakref.finalize(self._memory, _close, self._descriptors).atexit = False
        for _ in range(pools):
            self._descriptors.append(_counter())
        self._threads = threading.Lock()  # record locks do not exclude threads of one process
        self._away_until = 0.0
        self._users: Counter[int] = Counter()  # of this process, by place
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"<SharedTurns pools={len(self._descriptors)}>"

    def of(self, pool: str, patience: float = TABLE_PATIENCE) -> PoolTurns | None:
        """The turns of the pool, the same in all workers, until they are left. None if there is no room for one more
        pool, or if another worker did not release the table within the time.
        """
        if not self._acquire_table(patience):
            return None
        try:
            place = self._place(int.from_bytes(blake2b(pool.encode(), digest_size=7).digest()) + 1)
            if place is None:
                return None
            descriptor = self._descriptors[place]
            if not self._users[place]:
                fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, _USERS_LOCK)
            self._users[place] += 1
            return PoolTurns(self, descriptor, self._part(place), place)
        finally:
            self._release_table()

    def leave(self, place: int) -> None:
        """One user of the place in this process has left it."""
        self._forget_parent()
        with self._threads:
            self._users[place] = max(0, self._users[place] - 1)
            if not self._users[place]:
                fcntl.lockf(self._descriptors[place], fcntl.LOCK_UN, 1, _USERS_LOCK)

    def _acquire_table(self, patience: float) -> bool:
        self._forget_parent()
        now = time.monotonic()
        until = now if now < self._away_until else now + patience
        # Never waits for the lock of threads: gevent's patches, which come later than it, do not make it yield.
        while True:
            if self._threads.acquire(blocking=False):
                if _acquire(self._descriptors[0], _TABLE_LOCK):
                    self._away_until = 0.0
                    return True
                self._threads.release()
            if time.monotonic() >= until:
                break
            time.sleep(POLL_INTERVAL)
        if until > now:
            self._away_until = until + TABLE_AWAY_FOR
        return False

    def _release_table(self) -> None:
        fcntl.lockf(self._descriptors[0], fcntl.LOCK_UN, 1, _TABLE_LOCK)
        self._threads.release()

    def _place(self, name: int) -> int | None:
        """The place of the pool of this name: its own, one that was never used, or one that nobody uses any more."""
        places = range(len(self._descriptors))
        for place in places:
            words = self._part(place).cast("q")
            if words[_POOL] in (0, name):
                words[_POOL] = name
                return place
        for place in places:
            # A process could always have the lock against itself.
            if not self._users[place] and _acquire(self._descriptors[place], _USERS_LOCK):
                self._clear(place)
                self._part(place).cast("q")[_POOL] = name
                fcntl.lockf(self._descriptors[place], fcntl.LOCK_UN, 1, _USERS_LOCK)
                return place
        return None

    def _clear(self, place: int) -> None:
        """Begin with the first turn, and without blocks. A worker that ends before leaves the place to no pool."""
        self._part(place).cast("q")[_POOL] = _NO_POOL
        os.lseek(self._descriptors[place], 0, os.SEEK_SET)
        self._part(place)[8:] = bytes(_WORDS * 8 - 8)

    def _forget_parent(self) -> None:
        """A forked process does not have the record locks of its parent."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._users.clear()

    def first(self) -> PoolTurns:
        """The turns of the only pool."""
        return PoolTurns(self, self._descriptors[0], self._part(0))

    def _part(self, number: int) -> memoryview:
        return memoryview(self._memory)[number * _WORDS * 8 : (number + 1) * _WORDS * 8]


def turns_of(pool: str, shared: SharedTurns | None) -> PoolTurns:
    """The turns of the pool: of the machine if they are shared and to be had, else of this process."""
    return (None if shared is None else shared.of(pool)) or SharedTurns(1).first()


def _checksum(number: int, block: TicketBlock) -> int:
    return number ^ block.first ^ block.end ^ block.offset ^ block.refill


def _counter() -> int:
    """A descriptor of an empty file that has a position of its own. Linux since 6.15 does not protect the position of a
    memfd, which is no regular file to it.
    """
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _acquire(descriptor: int, byte: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
