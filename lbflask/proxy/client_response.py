"""What the client gets: a backend's answer passed on, or a short word of our own; and the moment a request has ended.

A request ends when its response has been written or the client has gone, which WSGI tells by closing the iterable
(PEP 3333). A response that breaks off must look broken off: the iterable raises, and the server cuts the connection.
"""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable, Iterator, Mapping

from lbflask.core.faults import Blame, Fault
from lbflask.core.http.direct_response import ErrorPage
from lbflask.core.http.fields import Fields
from lbflask.core.http.reason_phrases import reason_phrase
from lbflask.core.http.trailers import passable_trailers
from lbflask.upstream.connection import NEVER
from lbflask.upstream.requests_adapter import BackendResponse
from lbflask.upstream.response_reader import ResponseReader

Ended = Callable[[int, str, Fault | None], None]
NO_PAGES: Mapping[int, ErrorPage] = {}
OVER = "the time for the whole request was over"


class ClientResponse:
    """A WSGI response: `status` and `fields` for start_response, and then the body.

    `deadline` is when all of it must have been taken, in seconds of the steady clock.

    `ended` is called once with the bytes passed on, why the response was cut, and the fault if one cut it.
    """

    __slots__ = (
        "_answer",
        "_answered",
        "_ended",
        "_pieces",
        "_sent",
        "_whole",
        "deadline",
        "fields",
        "passes_trailers",
        "status",
    )

    def __init__(
        self,
        status: str,
        fields: Fields,
        response: BackendResponse | bytes,
        ended: Ended,
        *,
        deadline: float = NEVER,
    ) -> None:
        self.status = status
        self.fields = fields
        self._ended: Ended | None = ended
        self._sent = 0
        self.deadline = deadline
        self.passes_trailers = False  #: the client takes them
        self._answered: BackendResponse | None = None
        self._answer: ResponseReader | None = None
        self._pieces: Iterator[bytes] | None = None
        if isinstance(response, bytes):
            self._whole: bytes | None = response
        else:
            self._answer = response.answer
            self._whole = response.answer.whole()
            if self._whole is None:
                self._answered = response
                self._pieces = response.answer.pieces()
            else:
                response.release()

    def __len__(self) -> int:
        """WSGI servers take a response of one piece as a hint that nothing follows it (PEP 3333)."""
        if self._whole is None:
            raise TypeError("the number of pieces is not known")
        return 1

    @property
    def whole(self) -> bool:
        """Whether the body is here in one piece."""
        return self._pieces is None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._pieces is None:
            piece, self._whole = self._whole, None
            if not piece:
                raise StopIteration
        else:
            try:
                piece = next(self._pieces)
            except StopIteration:
                self._finish()
                raise
            except Fault as fault:
                if fault.blame is Blame.CLIENT:
                    self._hang_up(fault.reason)
                else:
                    self._end(fault.reason if fault.blame is Blame.SELF else f"the backend {fault.reason}", fault)
                # The one error that all gunicorn workers take quietly, by cutting the connection.
                raise BrokenPipeError(errno.EPIPE, fault.reason) from None
            if time.monotonic() > self.deadline:
                self._hang_up(OVER)
                raise BrokenPipeError(errno.EPIPE, "the time for the whole request is over")
        self._sent += len(piece)
        return piece

    @property
    def trailers(self) -> Fields:
        """The fields that follow a body in chunks, once it was read."""
        if not self.passes_trailers or self._answer is None:
            return []
        return passable_trailers(self._answer.trailers)

    def _hang_up(self, cut: str) -> None:
        """End early, with no backend to blame for it."""
        if self._answered is not None:
            self._answered.close()
            self._answered = None
        self._end(cut, None)

    def _finish(self) -> None:
        if self._answered is not None:
            self._answered.release()
            self._answered = None
        self._end("", None)

    def close(self) -> None:
        """The server is done with the response, whether or not it wanted all of it."""
        if self._answered is not None:
            self._answered.close()
            late = time.monotonic() > self.deadline
            cut = "" if self._answered.answer.complete else OVER if late else "the client hung up"
            self._answered = None
            self._end(cut, None)
        else:
            self._end("", None)

    def _end(self, cut: str, fault: Fault | None) -> None:
        if self._answered is not None and fault is not None:
            self._answered.close()
            self._answered = None
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(self._sent, cut, fault)


def own_reply(method: str, status: str, fields: Fields, body: bytes, ended: Ended) -> ClientResponse:
    """An answer of our own. HEAD gets all of it but the body (RFC 9110 §9.3.2)."""
    return ClientResponse(status, fields, b"" if method == "HEAD" else body, ended)


def refusal(
    fault: Fault, accept: str, retry_after: int | None, via: str | None, pages: Mapping[int, ErrorPage] = NO_PAGES
) -> tuple[str, Fields, bytes]:
    """Status line, fields and body of our own short answer: JSON for who asks for it, else the page of the status, or a
    line of text.
    """
    phrase = reason_phrase(fault.status)
    told = fault.reason if fault.blame is Blame.CLIENT else _TOLD.get(fault.status, phrase)
    if "application/json" in accept or "+json" in accept:
        kind = "application/json"
        body = json.dumps({"status": fault.status, "error": phrase, "detail": told}).encode() + b"\n"
    elif fault.status in pages:
        kind, body = pages[fault.status].content_type, pages[fault.status].body
    else:
        kind = "text/plain; charset=utf-8"
        body = f"{fault.status} {phrase}: {told}\n".encode()
    fields: Fields = [
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]
    if retry_after is not None:
        fields.append(("Retry-After", str(retry_after)))
    if via is not None:
        fields.append(("Via", "1.1 " + via))
    return f"{fault.status} {phrase}", fields, body


#: What a client is told of faults that are not its own: enough to act on, nothing about the backends.
_TOLD = {
    502: "the backend could not be reached or gave no valid response",
    503: "no backend can take the request now",
    504: "the backend did not respond in time",
}
