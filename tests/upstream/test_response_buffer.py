"""A response between a backend that sends fast and a client that reads slowly."""

from __future__ import annotations

import _thread
import logging
import threading
from collections.abc import Iterator
from queue import Queue
from typing import Any, cast

import pytest

from devtools.wait import PATIENCE, eventually
from lbflask.core.buffering import BufferBudget, BufferLimits
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.upstream.backend_transport import BackendResponse
from lbflask.upstream.response_buffer import ResponseBuffer
from lbflask.upstream.spool import BufferStore

BREAK = Fault(Blame.BACKEND, Stage.BODY, 502, "closed the connection within its response", answered=True)
LEFT = Fault(Blame.CLIENT, Stage.BODY, 499, "the client hung up")

Step = bytes | Exception | None


class QueuedAnswer:
    """An answer whose pieces the test puts into a queue: bytes, an error, None for the end."""

    def __init__(self) -> None:
        self.steps: Queue[Step] = Queue()
        self.complete = False
        self.reads = 0

    def pieces(self) -> Iterator[bytes]:
        while True:
            self.reads += 1
            step = self.steps.get(timeout=PATIENCE)
            if isinstance(step, Exception):
                raise step
            if step is None:
                self.complete = True
                return
            yield step

    def last(self, piece: bytes) -> None:
        """Its last piece, with which it is complete."""
        self.steps.put(piece)
        self.complete = True

    def abandon(self) -> None:
        self.steps.put(LEFT)


class QueuedResponse(BackendResponse):
    """Notes how it was ended."""

    def __init__(self) -> None:
        self.answer = QueuedAnswer()
        self.ends = 0

    def close(self) -> None:
        self.ends += 1


class Scene:
    """A buffer of four bytes in memory and eight in a file."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.response = QueuedResponse()
        self.answer: QueuedAnswer = cast("Any", self.response.answer)
        self.store = BufferStore(BufferBudget(1000, 1000))
        self.received: list[Fault | None] = []
        self.buffer = ResponseBuffer(
            self.response, self.store, BufferLimits(4, 8), self.received.append, at_once=at_once
        )

    def send(self, *steps: Step) -> None:
        for step in steps:
            self.answer.steps.put(step)


@pytest.fixture
def scene() -> Iterator[Scene]:
    """Nothing of it runs on after the test."""
    before = _thread._count()
    scene = Scene()
    yield scene
    scene.buffer.close()
    eventually(lambda: _thread._count() <= before, "the background has ended")
    assert (scene.store.memory, scene.store.spool) == (0, 0)
    assert len(scene.received) <= 1


def test_a_client_that_keeps_up_gets_each_piece_without_a_buffer(scene: Scene) -> None:
    threads = _thread._count()
    scene.send(b"", b"a", b"b", None)
    assert list(scene.buffer) == [b"", b"a", b"b"]
    assert _thread._count() == threads
    assert scene.buffer.complete


def test_the_backend_is_free_before_the_last_piece_is_written(scene: Scene) -> None:
    scene.answer.last(b"all")
    assert next(scene.buffer) == b"all"
    assert (scene.response.ends, scene.received) == (1, [None])


def test_the_rest_is_read_while_the_client_reads_nothing(scene: Scene) -> None:
    scene.send(b"a")
    assert next(scene.buffer) == b"a"
    scene.buffer.start()
    scene.buffer.start()
    scene.send(b"bcde", b"fghi", b"", b"jklm", None)
    eventually(lambda: scene.received == [None], "all of it is here")
    assert scene.response.ends == 1
    assert (scene.store.memory, scene.store.spool) == (4, 8)
    assert not scene.buffer.complete
    assert list(scene.buffer) == [b"bcde", b"fghijklm"]
    assert scene.buffer.complete


def test_a_full_buffer_stops_the_reading_until_the_client_goes_on(scene: Scene) -> None:
    scene.buffer.start()
    scene.send(b"1234", b"12345678", b"x", b"y", None)
    eventually(lambda: scene.answer.reads == 3, "as much is read as there is room for, and a piece in the hand")
    assert scene.received == []
    assert next(scene.buffer) == b"1234"
    assert b"".join(scene.buffer) == b"12345678xy"
    assert scene.received == [None]


def test_a_client_that_has_caught_up_waits_for_the_backend(scene: Scene) -> None:
    scene.buffer.start()
    taken: Queue[bytes] = Queue()
    reader = threading.Thread(target=lambda: [taken.put(piece) for piece in scene.buffer])
    reader.start()
    for piece in (b"a", b"b"):
        scene.send(piece)
        assert taken.get(timeout=PATIENCE) == piece
    scene.send(None)
    reader.join(PATIENCE)
    assert not reader.is_alive()


def test_a_response_that_breaks_off_frees_its_backend_and_then_breaks_off_at_the_client(scene: Scene) -> None:
    scene.buffer.start()
    scene.send(b"abc", BREAK)
    eventually(lambda: scene.received == [BREAK], "the backend is settled")
    assert scene.response.ends == 1
    assert next(scene.buffer) == b"abc"
    for _ in range(2):
        with pytest.raises(Fault) as caught:
            next(scene.buffer)
        assert caught.value is BREAK


def test_a_response_that_breaks_off_at_a_client_that_keeps_up_is_left_to_its_reader(scene: Scene) -> None:
    scene.send(b"abc", BREAK)
    assert next(scene.buffer) == b"abc"
    with pytest.raises(Fault):
        next(scene.buffer)
    assert scene.received == []
    scene.buffer.close()
    assert scene.response.ends == 1


def test_a_client_that_left_is_not_the_fault_of_the_backend(scene: Scene) -> None:
    scene.buffer.start()
    scene.send(LEFT)
    eventually(lambda: scene.received == [None], "it has ended")
    with pytest.raises(Fault):
        next(scene.buffer)


@pytest.mark.parametrize("pieces", [[], [b"1234", b"12345678", b"wait", b"more"]], ids=["reading", "full"])
def test_an_end_of_the_client_ends_the_background(scene: Scene, pieces: list[bytes]) -> None:
    scene.buffer.start()
    scene.send(*pieces)
    eventually(lambda: scene.answer.reads > min(2, len(pieces)), "it waits")
    scene.buffer.close()
    eventually(lambda: scene.received == [None], "it has ended")
    assert scene.response.ends == 1
    scene.buffer.start()
    assert scene.response.ends == 1


def test_an_error_of_ours_breaks_the_response_off(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.buffer.start()
    scene.send(ZeroDivisionError())
    with caplog.at_level(logging.ERROR, "lbflask"), pytest.raises(Fault) as caught:
        next(scene.buffer)
    assert caught.value.blame is Blame.SELF
    assert "could not be buffered" in caplog.text


def test_a_server_that_cannot_notify_has_the_rest_read_behind_the_first_piece() -> None:
    scene = Scene(at_once=True)
    scene.send(b"", b"a", b"b", None)
    assert next(scene.buffer) == b""
    eventually(lambda: scene.received == [None], "all of it is here")
    assert list(scene.buffer) == [b"a", b"b"]
    scene.buffer.close()
    assert "background" in repr(scene.buffer)


def test_without_a_thread_the_response_passes_as_before(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("_thread.start_new_thread", refuse)
    scene.send(b"a", b"b", None)
    assert next(scene.buffer) == b"a"
    scene.buffer.start()
    assert list(scene.buffer) == [b"b"]
