"""Records of requests and attempts. Each is created when its subject has ended, and does not change afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lbflask.core.answers import AnswerCause, AnswerKey, local_answer
from lbflask.core.faults import Fault, Stage
from lbflask.core.http.field_lines import FieldLines
from lbflask.core.http.types import Fields
from lbflask.core.http.value_templates import RequestFacts


@dataclass(slots=True, init=False)
class AttemptEvent:
    """One attempt at one backend.

    `fault` is None for the attempt whose response was passed on. `seconds` is the time until the response head, or
    until the fault; `at` is the start of the attempt, in seconds after that of the request.
    """

    backend: str
    seconds: float
    fault: Exception | None
    at: float

    # Written out, as in all records that each request makes: that of a dataclass is not compiled.
    def __init__(self, backend: str, seconds: float, fault: Exception | None = None, at: float = 0.0) -> None:
        self.backend = backend
        self.seconds = seconds
        self.fault = fault
        self.at = at

    @property
    def answered(self) -> bool:
        """Whether the backend has begun its response."""
        return self.fault is None or (isinstance(self.fault, Fault) and self.fault.stage is Stage.BODY)


@dataclass(slots=True, init=False)
class RequestEvent:
    """One request, from its head to the last byte of its response.

    `status` is the status sent to the client. `cut` is why the response broke off, empty if it was complete.
    `sent` and `received` are bytes of bodies. `why` is the reason for the first choice (core/log_fields.py), `route` is
    the name of the route, and `trace` the value that tracing made when the request began. `cause` is why the client got
    this answer, `limit` the exceeded rate limit, and `fields` are those of the response. `facts` are
    those of the request, if the log has any of them. `queued` are the seconds that it waited for slots of backends.
    `user` is the authenticated user.
    """

    client: str
    method: str
    target: str
    protocol: str
    pool: str
    status: int
    sent: int
    seconds: float
    attempts: Sequence[AttemptEvent]
    request_id: str
    cut: str
    route: str
    received: int
    why: str
    trace: Any
    cause: AnswerCause
    limit: str
    fields: Fields | FieldLines | None
    facts: RequestFacts | None
    queued: float
    user: str

    def __init__(  # noqa: PLR0913 - all that is known of a request
        self,
        *,
        client: str,
        method: str,
        target: str,
        protocol: str,
        pool: str,
        status: int,
        sent: int,
        seconds: float,
        attempts: Sequence[AttemptEvent],
        request_id: str,
        cut: str = "",
        route: str = "",
        received: int = 0,
        why: str = "",
        trace: Any = None,
        cause: AnswerCause = AnswerCause.BACKEND,
        limit: str = "",
        fields: Fields | FieldLines | None = None,
        facts: RequestFacts | None = None,
        queued: float = 0.0,
        user: str = "",
    ) -> None:
        self.client = client
        self.method = method
        self.target = target
        self.protocol = protocol
        self.pool = pool
        self.status = status
        self.sent = sent
        self.seconds = seconds
        self.attempts = attempts
        self.request_id = request_id
        self.cut = cut
        self.route = route
        self.received = received
        self.why = why
        self.trace = trace
        self.cause = cause
        self.limit = limit
        self.fields = fields
        self.facts = facts
        self.queued = queued
        self.user = user

    @property
    def served(self) -> AttemptEvent | None:
        """The attempt whose response was passed on, if only a part of it; None if there is none. It is not always the
        last one: a response is passed on late if no further attempt had a better one.
        """
        if not self.attempts:
            return None
        for attempt in reversed(self.attempts):
            if attempt.fault is None:
                return attempt
        last = self.attempts[-1]
        return last if last.answered else None

    @property
    def answer(self) -> AnswerKey:
        """What the answer is counted by."""
        if self.cause is AnswerCause.BACKEND:
            return AnswerKey(f"{self.status // 100}xx", self.cause.value)
        name = self.limit or self.pool
        if self.served is None:
            return local_answer(self.status, self.cause, name)
        return AnswerKey(f"{self.status // 100}xx", self.cause.value, name)


Listener = Callable[[RequestEvent], None]
