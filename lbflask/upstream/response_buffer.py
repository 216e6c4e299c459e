"""Takes a response from its backend as fast as it comes, while its client reads it at another pace.

As long as the client keeps up, pieces pass without a buffer. The first time that a write to it has to wait, the rest of
the response is read in the background; the connection is free for other requests when the last byte is here.
"""

from __future__ import annotations

import _thread
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Self

from lbflask.core.buffering import BufferLimits
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.upstream.backend_transport import BackendResponse
from lbflask.upstream.spool import BufferStore, SpoolQueue

log = logging.getLogger("lbflask")


class ResponseBuffer:
    """The pieces of the body of a response. `on_received` is called once, when the backend owes nothing more: with the
    fault for which its response broke off, or None.

    With `at_once` the background begins behind the first piece, for servers that can't call `start`.
    """

    def __init__(
        self,
        response: BackendResponse,
        store: BufferStore,
        limits: BufferLimits,
        on_received: Callable[[Fault | None], None],
        *,
        at_once: bool = False,
    ) -> None:
        self._response = response
        self._pieces: Iterator[bytes] = response.answer.pieces()
        self._queue = SpoolQueue(store, limits)
        self._on_received = on_received
        self._at_once = at_once
        self._changed = threading.Condition()
        self._in_background = False
        self._received = False  # the backend owes nothing more
        self._ended = False  # the background has put its last piece
        self._closed = False  # the client needs no more
        self._fault: Fault | None = None

    def __repr__(self) -> str:
        state = "background" if self._in_background else "direct"
        return f"<ResponseBuffer {state} {self._queue!r} of {self._response.answer!r}>"

    @property
    def complete(self) -> bool:
        """Whether all of the response was received from the backend and taken out of the buffer."""
        return self._response.answer.complete and not len(self._queue)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        """The next piece, as of BackendAnswer. Raises Fault."""
        if self._in_background:
            return self._take()
        piece = next(self._pieces)
        if self._response.answer.complete:
            self._end_receiving(None)  # before the last piece is written, however long that takes
        elif self._at_once:
            self.start()
        return piece

    def arrives_within(self, seconds: float) -> bool:
        """As of BackendAnswer."""
        if not self._in_background:
            return self._response.answer.arrives_within(seconds)
        with self._changed:
            if not len(self._queue) and not self._ended:
                self._changed.wait(seconds)
            return bool(len(self._queue)) or self._ended

    def start(self) -> None:
        """Read the rest in the background: the client does not keep up. Without a free thread it goes on as before."""
        if self._in_background or self._received or self._closed:
            return
        self._in_background = True
        try:
            # Not a Thread: its start() waits until the thread runs.
            _thread.start_new_thread(self._receive, ())
        except RuntimeError:
            self._in_background = False

    def close(self) -> None:
        """The client needs no more: give the room back, and end the exchange with the backend if it goes on."""
        with self._changed:
            self._closed = True
            busy = self._in_background and not self._ended
            self._queue.close()
            self._changed.notify_all()
        if busy:
            self._response.answer.abandon()  # which wakes the background, and that closes
        elif not self._received:
            self._response.close()

    def _take(self) -> bytes:
        with self._changed:
            while not (piece := self._queue.take()):
                if self._fault is not None:
                    raise self._fault
                if self._ended:
                    raise StopIteration
                self._changed.wait()
            self._changed.notify_all()
            return piece

    def _receive(self) -> None:
        """Runs in the background."""
        fault: Fault | None = None
        try:
            for piece in self._pieces:
                if piece and not self._put(piece):
                    break
        except Fault as found:
            fault = found
        except Exception:
            log.exception("a response could not be buffered")
            fault = Fault(Blame.SELF, Stage.BODY, 502, "the balancer failed")
        if self._closed:
            fault = None
        try:
            self._end_receiving(fault)
        finally:
            with self._changed:
                self._fault, self._ended = fault, True
                self._changed.notify_all()

    def _put(self, piece: bytes) -> bool:
        """Wait for room, and take the piece. False when the client needs no more."""
        with self._changed:
            while not self._closed:
                if self._queue.put(piece):
                    self._changed.notify_all()
                    return True
                self._changed.wait()
        return False

    def _end_receiving(self, fault: Fault | None) -> None:
        """Give the connection back, or close it, and report the end."""
        if self._received:
            return
        self._received = True
        self._response.close()  # which keeps a connection whose response is complete
        self._on_received(None if fault is None or fault.blame is Blame.CLIENT else fault)
