"""Bodies on their way: what is in memory, what in a file, what is given back, and what a full disk does."""

from __future__ import annotations

import errno
import resource
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.answers import AnswerCause
from lbflask.core.buffering import BufferBudget, BufferLimits
from lbflask.core.faults import Blame, Fault
from lbflask.upstream.spool import FILE_PIECE, BufferStore, SpoolFile, SpoolQueue, StoredBody

ROOMY = 1 << 30


def store(memory: int = ROOMY, spool: int = ROOMY) -> BufferStore:
    return BufferStore(BufferBudget(memory, spool))


@contextmanager
def a_full_disk(size: int) -> Iterator[None]:
    """Files may have so many bytes: writes beyond fail as on a full disk, with another number (EFBIG)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


# A stored body


def test_a_small_body_stays_in_memory() -> None:
    room = store()
    body = StoredBody(room, BufferLimits(10, 100))
    assert body.add(b"hello")
    assert body.add(b"world")
    assert body.whole() == b"helloworld"
    assert list(body.pieces()) == [b"helloworld"]
    assert (room.memory, room.spool) == (10, 0)
    body.close()
    assert (room.memory, room.spool) == (0, 0)


def test_a_body_of_nothing_is_whole() -> None:
    body = StoredBody(store(), BufferLimits(10))
    assert body.whole() == b""
    assert list(body.pieces()) == []


def test_what_exceeds_the_memory_goes_to_a_file_to_the_byte() -> None:
    room = store()
    body = StoredBody(room, BufferLimits(4, 8))
    assert body.add(b"hello")
    assert body.add(b", world")
    assert body.whole() is None
    assert (room.memory, room.spool) == (4, 8)
    assert b"".join(body.pieces()) == b"hello, world"
    assert b"".join(body.pieces()) == b"hello, world"
    assert not body.add(b"!")
    assert b"".join(body.pieces()) == b"hello, world"
    body.close()
    assert (room.memory, room.spool) == (0, 0)


def test_two_readers_of_a_file_do_not_disturb_each_other() -> None:
    content = bytes(range(256)) * (3 * FILE_PIECE // 256)
    body = StoredBody(store(), BufferLimits(0, len(content)))
    assert body.add(content)
    first, second = body.pieces(), body.pieces()
    head = next(first)
    assert b"".join(second) == content
    assert head + b"".join(first) == content
    body.close()


def test_without_room_in_memory_all_of_it_goes_to_the_file() -> None:
    room = store(memory=3)
    body = StoredBody(room, BufferLimits(4, 4))
    assert body.add(b"12345678")
    assert (room.memory, room.spool) == (0, 8)
    body.close()


def test_without_room_anywhere_nothing_is_stored() -> None:
    room = store(memory=3, spool=5)
    body = StoredBody(room, BufferLimits(2, 10))
    assert body.add(b"1234")
    assert not body.add(b"56789")
    assert (room.memory, room.spool) == (2, 2)
    assert b"".join(body.pieces()) == b"1234"
    body.close()
    alone = StoredBody(store(memory=1), BufferLimits(4))
    assert not alone.add(b"12")
    assert alone.whole() == b""


def test_a_piece_that_the_disk_refuses_is_not_stored_and_nothing_is_lost() -> None:
    errors: list[OSError] = []
    room = BufferStore(BufferBudget(ROOMY, ROOMY), report=errors.append)
    body = StoredBody(room, BufferLimits(2, 100))
    with a_full_disk(4):
        assert body.add(b"1234")
        assert not body.add(b"56789")
    assert [error.errno for error in errors] == [errno.EFBIG]
    assert (room.failures, room.memory, room.spool) == (1, 2, 2)
    assert b"".join(body.pieces()) == b"1234"
    assert body.add(b"5")  # there is room again
    assert b"".join(body.pieces()) == b"12345"
    body.close()


def test_a_folder_that_is_missing_refuses_files_until_there_is_another_one(tmp_path: Path) -> None:
    errors: list[OSError] = []
    room = BufferStore(BufferBudget(ROOMY, ROOMY), str(tmp_path / "none"), errors.append)
    body = StoredBody(room, BufferLimits(0, 100))
    assert not body.add(b"1")
    assert [error.errno for error in errors] == [errno.ENOENT]
    room.set_limits(ROOMY, ROOMY, str(tmp_path))
    assert body.add(b"1")
    assert list(tmp_path.iterdir()) == []  # without a name
    body.close()
    assert "in " + str(tmp_path) in repr(room)


def test_a_file_is_closed_once_and_reads_fail_afterwards() -> None:
    before = open_files()
    body = StoredBody(store(), BufferLimits(0, 100))
    assert body.add(b"hello")
    pieces = body.pieces()
    assert open_files() == before + 1
    body.close()
    body.close()
    assert open_files() == before
    with pytest.raises(Fault, match="the file is closed"):  # an end would look like that of the body
        next(pieces)
    assert not body.add(b"more")


def test_a_file_that_cannot_be_read_is_the_fault_of_the_balancer() -> None:
    file = SpoolFile(store())
    with pytest.raises(Fault) as caught:
        file.read(0, 1)
    assert (caught.value.blame, caught.value.status, caught.value.answer_cause) == (
        Blame.SELF,
        503,
        AnswerCause.SHORTAGE,
    )
    assert file.write(b"abc", 0)
    with pytest.raises(Fault, match="shorter than what was written"):
        file.read(3, 1)
    file.close()
    with pytest.raises(Fault, match="closed"):
        file.read(0, 1)


# A queue


def test_a_queue_gives_what_it_got_in_order_and_its_room_back() -> None:
    room = store()
    queue = SpoolQueue(room, BufferLimits(4, 8))
    assert [queue.put(piece) for piece in (b"ab", b"cd", b"efg", b"hi", b"jkl")] == [True] * 5
    assert not queue.put(b"m")
    assert len(queue) == 12
    assert (room.memory, room.spool) == (4, 8)
    assert [queue.take() for _ in range(3)] == [b"ab", b"cd", b"efghijkl"]
    assert queue.take() == b""
    assert queue.put(b"m")
    assert room.memory == 1
    queue.close()
    assert (room.memory, room.spool, len(queue)) == (0, 0, 0)


def test_a_queue_with_nothing_takes_any_piece() -> None:
    room = store(memory=0, spool=0)
    queue = SpoolQueue(room, BufferLimits(2))
    assert queue.put(b"hello")
    assert not queue.put(b"x")
    assert room.memory == 5
    assert queue.take() == b"hello"
    assert queue.put(b"world")
    queue.close()
    assert room.memory == 0


def test_a_queue_whose_disk_is_full_waits_and_loses_nothing() -> None:
    room = store()
    queue = SpoolQueue(room, BufferLimits(2, 100))
    with a_full_disk(0):
        assert queue.put(b"ab")
        assert not queue.put(b"cd")
        assert queue.take() == b"ab"
        assert queue.put(b"cdef")
    assert room.failures == 2
    assert queue.take() == b"cdef"
    queue.close()
    assert (room.memory, room.spool) == (0, 0)


@given(
    st.integers(0, 8),
    st.integers(0, 9),
    st.integers(0, 12),
    st.integers(0, 12),
    st.lists(st.integers(0, 7), max_size=60),
)
def test_a_queue_is_a_queue_at_any_size(
    memory: int, spool: int, all_memory: int, all_spool: int, steps: list[int]
) -> None:
    """A step of 0 takes out; another one puts so many bytes in."""
    room, expected, number = store(all_memory, all_spool), deque[int](), 0
    queue = SpoolQueue(room, BufferLimits(memory, spool))
    for step in steps:
        if step:
            piece = bytes((number + one) % 256 for one in range(step))
            if queue.put(piece):
                expected += piece
                number += step
            else:
                assert expected
        else:
            piece = queue.take()
            assert bool(piece) is bool(expected)
            assert [expected.popleft() for _ in piece] == list(piece)
        assert len(queue) == len(expected)
        assert room.spool <= min(spool, all_spool)
        assert room.memory <= max(min(memory, all_memory), 7)
    queue.close()
    assert (room.memory, room.spool) == (0, 0)


def test_threads_may_claim_together() -> None:
    room = store(memory=1000)
    granted: list[int] = []

    def claim() -> None:
        granted.append(sum(room.claim_memory(1) for _ in range(500)))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == room.memory == 1000
    room.release(memory=1000)
    assert room.memory == 0
