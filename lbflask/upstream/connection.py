"""One HTTP/1.1 connection to a backend: a request out, a response in, byte-exact (RFC 9112).

The connection is a state machine; `exchange_state.py` has its states and transitions. Every failure of an exchange is a
Fault, which names the party to blame and the stage. Deadlines are recorded here and enforced by the deadline sweeper.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import suppress
from enum import Enum
from typing import Final

from lbflask.core.faults import LEAVES, Blame, ClientLeft, Fault, FoundDown, Stage
from lbflask.upstream.deadlines import SWEEPER
from lbflask.upstream.exchange_state import AWAITING, READY, SENT, TRANSITIONS, UPLOADING, ExchangeEvent, ExchangeState
from lbflask.upstream.oserror_text import oserror_text
from lbflask.upstream.request_body import DISCONNECTED, BodySender
from lbflask.upstream.response_reader import ResponseReader
from lbflask.upstream.shortage import shortage
from lbflask.upstream.socket_stream import reset_at_close
from lbflask.upstream.stream import (
    NEVER,
    READ_SIZE,
    ExchangeTimeouts,
    NetworkStream,
    RequestBody,
    UpstreamRequest,
)

#: Seconds to wait for `100 Continue`. A backend that does not know the expectation sends nothing, and the body is sent
#: all the same (RFC 9110 §10.1.1).
CONTINUE_WITHIN: Final = 1.0

# Members as globals: to look one up in its class takes ten times as long, in Python 3.11.
_NEW: Final = ExchangeState.NEW
_SENDING: Final = ExchangeState.SENDING
_CLOSED: Final = ExchangeState.CLOSED
_REQUEST_STARTED: Final = ExchangeEvent.REQUEST_STARTED
_REQUEST_SENT: Final = ExchangeEvent.REQUEST_SENT
_REQUEST_BROKEN_OFF: Final = ExchangeEvent.REQUEST_BROKEN_OFF
_CLOSING: Final = ExchangeEvent.CLOSED


class _Interruption(Enum):
    """Why a wait was ended from outside."""

    SEND_TIMEOUT = "took no byte of the request"
    RECEIVE_TIMEOUT = "silent"
    CLIENT_GONE = "the client hung up"
    FOUND_DOWN = "found down by checks"
    LEAVES = "the backend leaves service"


class UpstreamConnection:
    """A connected socket that carries one exchange at a time. `origin` is the URL of its backend, for display."""

    __slots__ = (
        "_bytes_received",
        "_interruption",
        "_lock",
        "_sender",
        "_sender_fault",
        "_silence",
        "_state",
        "_stream",
        "_timeouts",
        "_wait_began",
        "exchanges",
        "opened_at",
        "origin",
        "receive_deadline",
        "send_deadline",
    )

    def __init__(self, stream: NetworkStream, now: float, origin: str = "") -> None:
        self._stream = stream
        self._state = _NEW
        self._lock = threading.Lock()  # of the state, while a sender in the background may change it
        self._sender: BodySender | None = None
        self._sender_fault: Fault | None = None
        self._timeouts = ExchangeTimeouts()
        self._bytes_received = False  # of the response to the latest request
        self._interruption: _Interruption | None = None
        self._wait_began = self._silence = 0.0  # of the wait that an interruption has ended
        self.origin = origin
        self.opened_at = now
        self.exchanges = 0  #: requests that were started
        #: The ends of the present waits, in seconds of the monotonic clock.
        self.receive_deadline = self.send_deadline = NEVER
        SWEEPER.watch(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.origin or self._stream} {self._state.name} exchanges={self.exchanges}>"

    @property
    def state(self) -> ExchangeState:
        """How far the latest exchange is."""
        return self._state

    @property
    def request_sent(self) -> bool:
        """Whether all of the latest request was sent."""
        return self._state in SENT

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry a request."""
        return self._state in READY and self._interruption is None

    @property
    def timed_out(self) -> bool:
        """Whether a wait was ended at its deadline."""
        return self._interruption in (_Interruption.SEND_TIMEOUT, _Interruption.RECEIVE_TIMEOUT)

    @property
    def stream(self) -> NetworkStream:
        """The socket, for a tunnel."""
        return self._stream

    def set_deadline(self, deadline: float) -> None:
        """Let the exchange last until this time of the monotonic clock, from the next wait on."""
        self._timeouts = self._timeouts._replace(deadline=deadline)

    def advance(self, event: ExchangeEvent) -> None:
        """Change the state. Raises RuntimeError for an event that is not possible in the present one."""
        if self._sender is not None:
            with self._lock:
                self._change_state(event)
        else:
            self._change_state(event)

    def _change_state(self, event: ExchangeEvent) -> None:
        try:
            self._state = TRANSITIONS[self._state][event]
        except KeyError:
            raise RuntimeError(f"{event.name} is not possible: {self!r}") from None

    def exchange(self, request: UpstreamRequest, timeouts: ExchangeTimeouts) -> ResponseReader:
        """Send the request and read the head of the final response. Raises Fault.

        A body that is not in memory is sent as the client delivers it; the Fault of the client passes through.
        """
        self._sender = None  # until there is one, no other thread changes the state
        self._change_state(_REQUEST_STARTED)
        self.exchanges += 1
        self._timeouts = timeouts
        self._bytes_received = False
        reader = ResponseReader(self, request, timeouts, self.exchanges)
        if request.on_gone is not None:
            request.on_gone(reader.abandon)
        try:
            if request.body is None:
                self.send_all(request.head(), timeouts.between_bytes)
                self._state = TRANSITIONS[self._state][_REQUEST_SENT]  # possible in every state that follows SENDING
            else:
                self._send_with_body(reader, request, request.body)
        except OSError as error:
            self._raise_if_interrupted(timeouts.between_bytes, Stage.SEND)
            # A backend may respond before it has read the whole request, and close (RFC 9112 §9.5): read that response.
            if request.body is None or error.errno not in DISCONNECTED:
                raise self._failed(Stage.SEND, error) from None
            self.advance(_REQUEST_BROKEN_OFF)
        if request.on_step is not None:
            request.on_step("sent")
        reader.read_head()
        return reader

    def _send_with_body(self, reader: ResponseReader, request: UpstreamRequest, body: RequestBody) -> None:
        timeout = self._timeouts.between_bytes
        if body.whole is not None:
            self.send_all(request.head() + body.whole, timeout)
            self.advance(_REQUEST_SENT)
            return
        self.send_all(request.head(), timeout)
        if request.expects_continue and reader.responds_within(CONTINUE_WITHIN):
            self.advance(_REQUEST_BROKEN_OFF)  # the final response needs no body
            return
        self._sender = sender = BodySender(self, body, chunked=request.framing.chunked, timeout=timeout)
        if body.concurrent:
            sender.start()
        else:
            sender.run()

    def send_all(self, data: bytes, timeout: float) -> None:
        """Send all of the data; the backend must accept some of it every `timeout` seconds. Raises OSError."""
        stream, deadline = self._stream, self._timeouts.deadline
        self.send_deadline = min(time.monotonic() + timeout, deadline)
        sent = stream.send(data)
        if sent != len(data):
            rest = memoryview(data)[sent:]
            while rest:  # not sendall, which would not show the progress
                self.send_deadline = min(time.monotonic() + timeout, deadline)
                sent = stream.send(rest)
                rest = rest[sent:]
        self.send_deadline = NEVER

    def finish_sending(self) -> None:
        """All of the request was sent: the time of the backend until its first byte begins."""
        with self._lock:
            self._restart_wait()
            self._change_state(_REQUEST_SENT)

    def abort_sending(self, fault: Fault | None, *, interrupt: bool) -> None:
        """The rest of the request will not be sent. `interrupt` ends the wait for the response."""
        with self._lock:
            self._sender_fault = fault
            self._restart_wait()
            self._change_state(_REQUEST_BROKEN_OFF)
        if interrupt:
            self.cut()

    def _restart_wait(self) -> None:
        if self._state is _SENDING:
            self._wait_began = began = time.monotonic()
            self.receive_deadline = min(began + self._timeouts.first_byte, self._timeouts.deadline)

    def receive(self, timeout: float, stage: Stage, size: int = READ_SIZE) -> bytes:
        """The next bytes, within `timeout` seconds; empty at the end of the stream. Raises Fault.

        While the request is being sent, the wait for the response is limited by the deadline of the request only.
        """
        sender = self._sender
        if sender is None:
            self._wait_began = began = time.monotonic()
            self.receive_deadline = min(began + timeout, self._timeouts.deadline)
        else:
            with self._lock:
                sending = self._state is _SENDING
                self._wait_began = began = time.monotonic()
                limit = NEVER if sending else began + timeout
                self.receive_deadline = min(limit, self._timeouts.deadline)
        try:
            data = self._stream.recv(size)
        except OSError as error:
            self._raise_if_interrupted(timeout, stage)
            unsent = sender is not None and self._state not in SENT
            raise self._failed(Stage.SEND if unsent else stage, error) from None
        self.receive_deadline = NEVER
        if sender is not None or self._interruption is not None:
            self._raise_if_interrupted(timeout, stage)
        if data:
            self._bytes_received = True
        return data

    def receive_within(self, seconds: float, stage: Stage = Stage.WAIT) -> bytes | None:
        """As `receive`, but None when no byte of HTTP has arrived in time.

        A readable socket proves nothing: it may hold a part of a TLS record, or a session ticket.
        """
        until = min(time.monotonic() + seconds, self._timeouts.deadline)
        poll = select.poll()
        poll.register(self._stream.fileno(), select.POLLIN)
        try:
            while (data := self._receive_now(READ_SIZE)) is None:
                left = until - time.monotonic()
                if left <= 0:
                    return None
                poll.poll(left * 1000)
        except OSError as error:
            self._raise_if_interrupted(seconds, stage)
            raise self._failed(stage, error) from None
        self._raise_if_interrupted(seconds, stage)
        self._bytes_received = self._bytes_received or bool(data)
        return data

    def _receive_now(self, size: int) -> bytes | None:
        """The bytes that have arrived, empty at the end of the stream; None for none. Raises OSError."""
        self._stream.setblocking(False)
        try:
            return self._stream.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        finally:
            self._stream.setblocking(True)

    def check_deadline(self, now: float) -> None:
        """End a wait whose deadline is not after `now`. Called by the deadline sweeper."""
        if self.send_deadline <= now:
            interruption = _Interruption.SEND_TIMEOUT
        elif self.receive_deadline <= now:
            interruption = _Interruption.RECEIVE_TIMEOUT
        else:
            return
        self._interruption = self._interruption or interruption
        self.receive_deadline = self.send_deadline = NEVER
        self.cut()

    def silent_since(self) -> float | None:
        """Since when the backend has owed the first byte of its response, in seconds of the monotonic clock; None while
        it owes none. Any thread may call it.
        """
        waiting = self._state in AWAITING and self.receive_deadline != NEVER and not self._bytes_received
        return self._wait_began if waiting else None

    def awaits_client(self) -> bool:
        """Whether the backend waits for more of the request because the client has not sent it, and has not responded.
        Any thread may call it.
        """
        return self._state is _SENDING and self._sender is not None and self.send_deadline == NEVER

    def give_up(self) -> bool:
        """End the wait for the first byte of the response, because the backend was found down. Whether there is one."""
        waiting = self.silent_since() is not None
        if waiting:
            self._interrupt(_Interruption.FOUND_DOWN)
        return waiting

    def end_exchange(self) -> None:
        """End the exchange that is under way, because the backend leaves service. Any thread may call it."""
        if self._state not in READY and self._state is not _CLOSED:
            self._interrupt(_Interruption.LEAVES)

    def abandon(self, exchange: int) -> None:
        """End the exchange of this number, because its client has gone. Does nothing once it is complete."""
        if exchange == self.exchanges and self._state not in READY and self._state is not _CLOSED:
            self._interrupt(_Interruption.CLIENT_GONE)

    def _interrupt(self, interruption: _Interruption) -> None:
        since = self.silent_since()
        self._silence = 0.0 if since is None else time.monotonic() - since
        self._interruption = interruption
        self.cut()

    def cut(self) -> None:
        """End both directions, which wakes all that wait for the backend."""
        with suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)

    def _raise_if_interrupted(self, timeout: float, stage: Stage) -> None:
        """Raise the Fault for which a wait was ended from outside."""
        if self._sender_fault is not None:
            raise self._sender_fault
        if self._interruption is _Interruption.CLIENT_GONE:
            raise ClientLeft(stage, self._silence)
        if self._interruption is _Interruption.FOUND_DOWN:
            raise FoundDown(self._silence)
        if self._interruption is _Interruption.LEAVES:
            raise Fault(Blame.SELF, stage, 502, LEAVES)
        if self._interruption is _Interruption.RECEIVE_TIMEOUT and stage is not Stage.SEND:
            if self._sender is not None and self._state in UPLOADING:
                raise Fault(Blame.CLIENT, Stage.SEND, 408, "the request took too long to arrive")
            raise self._too_late(self._interruption, stage, timeout)
        if self._interruption is not None:
            raise self._too_late(self._interruption, Stage.SEND, self._timeouts.between_bytes)

    def _too_late(self, interruption: _Interruption, stage: Stage, timeout: float) -> Fault:
        reason = f"{interruption.value} for {timeout:g} s"
        if time.monotonic() >= self._timeouts.deadline:
            reason = "did not finish within the time for the whole request"
        return self.fault(stage, reason, status=504)

    def _failed(self, stage: Stage, error: OSError) -> Fault:
        return shortage(error, stage) or self.fault(stage, oserror_text(error))

    def fault(self, stage: Stage, reason: str, *, status: int = 502) -> Fault:
        """A Fault of the backend."""
        reused = self.exchanges > 1
        return Fault(Blame.BACKEND, stage, status, reason, reused=reused, answered=self._bytes_received)

    def is_silent(self) -> bool:
        """Whether no unrequested bytes are known to have arrived, which would be read as the next response (RFC 9112
        §9.2). Costs less than `is_alive`, and may miss that the backend has closed.
        """
        return self._stream.silent()

    def is_alive(self) -> bool:
        """Whether an idle connection is usable: the backend has neither closed it nor sent anything."""
        self._stream.setblocking(False)
        try:
            self._stream.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self._stream.setblocking(True)
        return False

    def close(self) -> None:
        """Close at once, in any state."""
        SWEEPER.forget(self)
        self.advance(_CLOSING)
        self._stream.close()

    def abort(self) -> None:
        """Close with a reset, in the middle of a response."""
        reset_at_close(self._stream)
        self.close()
