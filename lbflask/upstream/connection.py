"""One HTTP/1.1 connection to a backend: a request out, a response in, byte-exact (RFC 9112).

Whatever goes wrong comes out as a Fault that says who is to blame and how far the request had got. Foreign exceptions
end here. Time-outs are noted here and enforced by the watchdog.
"""

from __future__ import annotations

import errno
import math
import select
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.fields import Fields
from lbflask.core.http.framing import Framing
from lbflask.upstream.deadlines import WATCHDOG
from lbflask.upstream.request_body import BodySender, RequestBody
from lbflask.upstream.response_reader import ResponseReader
from lbflask.upstream.shortage import shortage

READ_SIZE = 65_536
NEVER = math.inf
#: Seconds that a backend gets to say `100 Continue`. One that does not know the expectation says nothing, and the body
#: is sent all the same (RFC 9110 §10.1.1).
CONTINUE_WITHIN = 1.0
SILENT = "silent"


class ExchangeTimeouts(NamedTuple):
    """Seconds for the first byte of the response, and between any two bytes; and the moment of the steady clock at
    which the whole request is over.
    """

    first_byte: float = 60.0
    between_bytes: float = 60.0
    deadline: float = NEVER


class SocketOptions(Protocol):
    """What has the options of a socket."""

    def setsockopt(self, level: int, option: int, value: bytes, /) -> None:
        """As of a socket."""
        ...


class NetworkStream(SocketOptions, Protocol):
    """What a connection needs of a socket; `recv` and `send` block the caller, and nobody else. A socket of the
    standard library becomes one by `dial.blocking`.
    """

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """The next bytes; empty at the end. Raises OSError."""
        ...

    def send(self, data: bytes | memoryview, /) -> int:
        """Send some of it. Raises OSError."""
        ...

    def shutdown(self, how: int, /) -> None:
        """End one direction or both, which wakes whoever waits."""
        ...

    def fileno(self) -> int:
        """Its descriptor."""
        ...

    def setblocking(self, flag: bool, /) -> None:
        """Whether `recv` waits; when not, it raises BlockingIOError instead."""
        ...

    def silent(self) -> bool:
        """Whether nothing is known to have come since the last `recv`. Need not see that the peer has closed."""
        ...

    def close(self) -> None:
        """Close."""
        ...


class UpstreamRequest(Protocol):
    """A request as it is to go out."""

    method: str | None
    body: RequestBody | None
    framing: Framing
    #: The request asks for leave to send its body.
    expects_continue: bool
    #: The Upgrade value that was offered; empty for none.
    upgrade: str
    #: Told of each interim response (RFC 9110 §15.2) but 100, as status, reason and fields.
    on_interim: Callable[[int, str, Fields], None] | None
    #: Takes what is to be called when the client goes.
    on_gone: Callable[[Callable[[], None]], None] | None
    #: Called with the name of each step and its facts, while requests are traced.
    trace: Callable[..., None] | None

    def head(self) -> bytes:
        """Request line and fields, with the empty line."""
        ...


class UpstreamConnection:
    """A connected socket that carries one exchange at a time."""

    __slots__ = (
        "_sending_first",
        "_sent",
        "_sock",
        "_upload",
        "abandoned",
        "deadline",
        "expired",
        "expires",
        "idle_since",
        "opened_at",
        "send_expires",
        "served",
    )

    def __init__(self, sock: NetworkStream, now: float) -> None:
        self._sock = sock
        self._upload: BodySender | None = None
        self._sent = True  # all of the latest request, without an upload
        self.opened_at = now
        self.idle_since = now
        self.served = 0
        #: Until when the present wait may last, for the response and for the backend to take what is sent.
        self.expires = self.send_expires = NEVER
        self.deadline = NEVER
        self.expired = ""  #: what it did for too long
        self._sending_first = False  # nothing is expected from the backend before it has all of the request
        self.abandoned = False
        WATCHDOG.watch(self)

    @property
    def wire(self) -> NetworkStream:
        """The socket, for what comes after HTTP."""
        return self._sock

    def exchange(self, request: UpstreamRequest, timing: ExchangeTimeouts) -> ResponseReader:
        """Send the request and read the head of the final response. Raises Fault.

        A body that is not at hand is sent as it comes. The client's own failure to deliver it passes through as the
        Fault that reading it raises.
        """
        answer = ResponseReader(self, request, timing)
        self.deadline = timing.deadline
        self._upload, self._sent = None, False
        if request.on_gone is not None:
            request.on_gone(answer.abandon)
        try:
            if request.body is None:
                self.send_all(request.head(), timing.between_bytes)
                self._sent = True
            else:
                self._send_with_body(answer, request, request.body, timing)
        except OSError as error:
            if self.abandoned:
                raise self._given_up(Stage.SEND) from None
            if self.expired:
                raise self._too_late(answer, Stage.SEND, timing.between_bytes) from None
            # A backend may answer before it has read the whole request, and close (RFC 9112 §9.5): look for it.
            if request.body is None or error.errno not in (errno.EPIPE, errno.ECONNRESET):
                raise self._failed(answer, Stage.SEND, error) from None
            answer.request_cut = True
        if request.trace is not None:
            request.trace("sent")
        answer.read_head()
        self.served += 1
        return answer

    def _send_with_body(
        self, answer: ResponseReader, request: UpstreamRequest, body: RequestBody, timing: ExchangeTimeouts
    ) -> None:
        if body.whole is not None:
            self.send_all(request.head() + body.whole, timing.between_bytes)
            self._sent = True
        else:
            self.send_all(request.head(), timing.between_bytes)
            if request.expects_continue and answer.comes_within(CONTINUE_WITHIN):
                return  # an answer without having seen the body
            upload = BodySender(self, body, request.framing.chunked, timing)
            self._upload = upload
            if body.concurrent:
                upload.start()
            else:
                upload.run()

    def send_all(self, data: bytes, patience: float) -> None:
        """Send all of it; the backend must take some of it every `patience` seconds. Raises OSError."""
        sock = self._sock
        self.send_expires = min(time.monotonic() + patience, self.deadline)
        sent = sock.send(data)
        if sent != len(data):
            rest = memoryview(data)[sent:]
            while rest:  # not sendall, which would not show that the backend takes its time
                self.send_expires = min(time.monotonic() + patience, self.deadline)
                rest = rest[sock.send(rest) :]
        self.send_expires = NEVER

    def receive(self, answer: ResponseReader, timeout: float, stage: Stage, size: int = READ_SIZE) -> bytes:
        """The next bytes; empty at the end of the stream. Raises Fault.

        While the request is still on its way, only the deadline of the whole bounds the wait for a response.
        """
        upload = self._upload
        self._sending_first = upload is not None and not upload.over and stage is not Stage.BODY
        self.expires = self.deadline if self._sending_first else min(time.monotonic() + timeout, self.deadline)
        try:
            data = self._sock.recv(size)
        except OSError as error:
            self._end(answer, timeout, stage)
            unsent = upload is not None and not upload.complete
            raise self._failed(answer, Stage.SEND if unsent else stage, error) from None
        self.expires = NEVER
        if upload is not None or self.expired or self.abandoned:
            self._end(answer, timeout, stage)
        return data

    def _end(self, answer: ResponseReader, timeout: float, stage: Stage) -> None:
        """Raise the Fault for which the wait was ended from outside, if it was."""
        upload = self._upload
        if upload is not None and upload.fault is not None:
            raise upload.fault
        if self.abandoned:
            raise self._given_up(stage)
        if self.expired:
            if self.expired != SILENT:
                raise self._too_late(answer, Stage.SEND, answer.between_bytes)
            if upload is not None and not upload.complete:
                raise Fault(Blame.CLIENT, Stage.SEND, 408, "the request took too long to arrive")
            raise self._too_late(answer, stage, timeout)

    def receive_within(self, answer: ResponseReader, seconds: float) -> bytes | None:
        """As `receive`, but None when no byte of HTTP has come within so many seconds, which is no fault.

        A readable socket proves nothing: what has come may be a part of a TLS record, or a session ticket.
        """
        until = min(time.monotonic() + seconds, self.deadline)
        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLIN)
        try:
            while (data := self._receive_now(READ_SIZE)) is None:
                left = until - time.monotonic()
                if left <= 0:
                    return None
                poll.poll(left * 1000)
        except OSError as error:
            self._end(answer, seconds, Stage.WAIT)
            raise self._failed(answer, Stage.WAIT, error) from None
        self._end(answer, seconds, Stage.WAIT)
        return data

    def _receive_now(self, size: int) -> bytes | None:
        """What has come, empty at the end of the stream; None when that is nothing. Raises OSError."""
        self._sock.setblocking(False)
        try:
            return self._sock.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        finally:
            self._sock.setblocking(True)

    def body_sent(self, upload: BodySender, first_byte: float) -> None:
        """The upload is over: from now on the backend is expected to answer, unless it carries another request."""
        if self._sending_first and self._upload is upload:
            self.expires = min(time.monotonic() + first_byte, self.deadline)

    def look(self, now: float) -> None:
        """End a wait that has lasted too long. Called by the watchdog."""
        if self.send_expires <= now:
            self.expired = "took no byte of the request"
        elif self.expires <= now:
            self.expired = SILENT
        else:
            return
        self.expires = self.send_expires = NEVER
        self.cut()

    def abandon(self) -> None:
        """The client has gone: end whatever waits for the backend."""
        self.abandoned = True
        self.cut()

    def cut(self) -> None:
        """End both directions, from outside."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    @property
    def sent(self) -> bool:
        """Whether all of the latest request was written, with its body: what the backend still waits for would be read
        out of the next request (RFC 9112 §9.3).
        """
        return self._sent or (self._upload is not None and self._upload.complete)

    def _failed(self, answer: ResponseReader, stage: Stage, error: OSError) -> Fault:
        if (lack := shortage(error, stage)) is not None:
            return lack
        reason = (error.strerror or type(error).__name__).lower()
        return Fault(Blame.BACKEND, stage, 502, reason, reused=self.served > 0, answered=answer.begun)

    def _given_up(self, stage: Stage) -> Fault:
        return Fault(Blame.CLIENT, stage, 499, "the client hung up")

    def _too_late(self, answer: ResponseReader, stage: Stage, patience: float) -> Fault:
        reason = f"{self.expired} for {patience:g} s"
        if time.monotonic() >= self.deadline:
            reason = "did not finish within the time for the whole request"
        return Fault(Blame.BACKEND, stage, 504, reason, reused=self.served > 0, answered=answer.begun)

    def silent(self) -> bool:
        """Whether nothing has come that nobody asked for, which would be taken for the next response (RFC 9112 §9.2).

        Costs less than `quiet`, and may not see a closed connection.
        """
        return self._sock.silent()

    def quiet(self) -> bool:
        """Whether an idle connection is still good: the backend has neither closed it nor said anything."""
        self._sock.setblocking(False)
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self._sock.setblocking(True)
        return False

    def close(self) -> None:
        """Close at once, whatever is on its way."""
        WATCHDOG.forget(self)
        self._sock.close()

    def abort(self) -> None:
        """Close with a reset, in the middle of a response."""
        reset_at_close(self._sock)
        self.close()


def reset_at_close(sock: SocketOptions) -> None:
    """Have the close send a reset, for a stream that breaks off.

    An orderly end does not reach a peer whose window is closed: it probes the window, a connection in FIN-WAIT-2
    acknowledges the probes, and its writer stays blocked for a minute (RFC 9293 §3.8.6.1).
    """
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
