"""The deadline of the present read of a client connection."""

from __future__ import annotations

import math

from lbflask.server.worker.least_rate import LeastRate


class ReadDeadline:
    """`expires` is the deadline of the present read, in seconds of the steady clock, infinite if the present request
    needs no more. `expired` is whether it has passed. `body` is the limit in seconds of each read of a body, None while
    a head is read.
    """

    def __init__(self) -> None:
        self.expires = math.inf
        self.expired = False
        self.body: float | None = None
        self._until = math.inf
        self._least_rate: LeastRate | None = None
        self._reason = ""

    def __repr__(self) -> str:
        return f"<ReadDeadline {self.expires:g} expired={self.expired}>"

    def set_head(self, moment: float) -> None:
        """A head must be complete by then."""
        self.body = None
        self.expires = moment

    def set_body(self, seconds: float) -> None:
        """The head is complete: limit each read of the body."""
        self.body = seconds
        self.expires = self._until = math.inf
        self._least_rate = None

    def set_until(self, moment: float) -> None:
        """All reads of the present body end by then."""
        self._until = moment

    def set_least_rate(self, least_rate: LeastRate | None) -> None:
        """The rate at which the present body must arrive at least."""
        self._least_rate = least_rate

    def begin_read(self, now: float, body: float) -> None:
        """A read of the body begins, which ends after `body` seconds or by another limit that is reached before."""
        self._reason = ""
        expires = now + body
        if self._until < expires:
            expires, self._reason = self._until, "the request took too long to arrive"
        if self._least_rate is not None and (slow := now + self._least_rate.left()) < expires:
            expires, self._reason = slow, "the client sent its body too slowly"
        self.expires = expires

    def end_read(self, size: int, seconds: float) -> None:
        """A read of the body has brought so many bytes after so many seconds."""
        self.expires = math.inf
        if self._least_rate is not None:
            self._least_rate.add(size, seconds)

    def time_out(self) -> TimeoutError:
        """The error of a read whose deadline has passed, with its reason unless that is `timeouts.client_body`."""
        return TimeoutError(self._reason) if self._reason else TimeoutError()

    def set_last(self, moment: float) -> None:
        """All further reads end by then."""
        self.expires, self.expired = moment, False

    def set_expired(self) -> None:
        """The deadline has passed: the read raises TimeoutError."""
        self.expired = True

    def set_expires(self, moment: float) -> None:
        """The present read ends by then; infinite for none."""
        self.expires = moment
