"""The errors of an attempt: which side is to blame, how far the request had got, and whether a replay is safe."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from lbflask.core.answers import AnswerCause
from lbflask.core.failure_causes import FailureCause
from lbflask.core.http.types import Field


class Blame(StrEnum):
    """The side that is to blame."""

    CLIENT = "client"
    BACKEND = "backend"
    SELF = "self"


class Stage(StrEnum):
    """How far the request had got."""

    CHOOSE = "choose"  #: no backend was tried
    CONNECT = "connect"  #: no byte of the request can have reached the backend
    SEND = "send"  #: the request was being written
    WAIT = "wait"  #: the request was written; the response head had not arrived
    BODY = "body"  #: the response had begun


#: Why a long connection ends without a fault of either side.
LEAVES: Final = "its backend leaves service"


class Resource(StrEnum):
    """A resource that this process or its machine can run out of."""

    DESCRIPTORS = "descriptors"
    PORTS = "ports"
    MEMORY = "memory"
    THREADS = "threads"
    NETWORK = "network"  #: the machine's interface is down
    DISK = "disk"  #: the file of a buffered body can't be read


class Fault(Exception):
    """A failed attempt.

    `status` is the status for the client if no other attempt succeeds. `reused`: the connection had served a request
    before. `answered`: at least one byte of the response was received. Together they distinguish a keep-alive
    connection that the backend closed at the same moment (RFC 9112 §9.3.1) from a failure. `answer_cause` is the cause
    of the response to the client; without one it follows from blame, stage and status. `failure` is the cause of a
    connection that could not be opened. `limit` is the name of an exceeded rate limit.
    """

    def __init__(
        self,
        blame: Blame,
        stage: Stage,
        status: int,
        reason: str,
        *,
        reused: bool = False,
        answered: bool = False,
        answer_cause: AnswerCause | None = None,
        failure: FailureCause = FailureCause.UNKNOWN,
    ) -> None:
        super().__init__(reason)
        self.blame = blame
        self.stage = stage
        self.status = status
        self.reason = reason
        self.reused = reused
        self.answered = answered
        self.answer_cause = answer_cause or _usual_cause(blame, stage, status)
        self.failure = failure
        self.limit = ""

    def __repr__(self) -> str:
        return f"Fault({self.blame}/{self.stage} {self.status}: {self.reason})"


class NotAdmitted(Fault):
    """A request that a check refuses before anything is done for it. `fields` are in the response besides those of all
    local replies, such as WWW-Authenticate; `log_reason` is for the event, and may have what is not for the client.
    """

    def __init__(
        self, status: int, reason: str, cause: AnswerCause, fields: Sequence[Field] = (), log_reason: str = ""
    ) -> None:
        super().__init__(Blame.CLIENT, Stage.CHOOSE, status, reason, answer_cause=cause)
        self.fields = fields
        self.log_reason = log_reason


class RefusalResponse(NotAdmitted):
    """A refusal whose response is that of another service: with its fields, and with its body."""

    def __init__(self, status: int, reason: str, cause: AnswerCause, fields: Sequence[Field], body: bytes) -> None:
        super().__init__(status, reason, cause, fields)
        self.body = body


class ClientLeft(Fault):
    """The client left while it waited for the first byte of a backend that had sent nothing for `silence` seconds."""

    def __init__(self, stage: Stage, silence: float) -> None:
        super().__init__(Blame.CLIENT, stage, 499, "the client hung up")
        self.silence = silence

    def name_backend(self, backend: str) -> None:
        """Put the backend into the reason, if it was silent for a second or longer."""
        if self.silence >= 1:
            self.reason = f"the client hung up; {backend} had sent nothing for {self.silence:.0f} s"


class FoundDown(Fault):
    """A backend sent nothing for `silence` seconds, until checks without any answer found it down."""

    def __init__(self, silence: float) -> None:
        super().__init__(
            Blame.BACKEND, Stage.WAIT, 502, f"silent for {silence:.1f} s, and then found down by its checks"
        )
        self.silence = silence


class AttemptTimeout(Fault):
    """A backend gave no response within the time of one attempt; the time of the request is not spent."""

    def __init__(self, stage: Stage, seconds: float) -> None:
        super().__init__(Blame.BACKEND, stage, 504, f"no response within {seconds:g} s, the time of one attempt")


class Outpaced(Fault):
    """The attempt was ended because another one at the same time had a good response before."""

    def __init__(self, backend: str) -> None:
        super().__init__(Blame.SELF, Stage.WAIT, 502, f"ended, since {backend} responded first")


class RetriedResponse(Fault):
    """A backend gave a response with a status after which another backend is tried."""

    def __init__(self, status: int) -> None:
        super().__init__(Blame.BACKEND, Stage.WAIT, 502, f"responded {status}, which is retried")


class Shortage(Fault):
    """A resource that this process lacks. No backend is to blame: none is ejected, and there is no retry."""

    def __init__(self, stage: Stage, resource: Resource, reason: str) -> None:
        super().__init__(
            Blame.SELF,
            stage,
            503,
            reason,
            answer_cause=AnswerCause.SHORTAGE,
            failure=FailureCause.SHORTAGE,
        )
        self.resource = resource


def _usual_cause(blame: Blame, stage: Stage, status: int) -> AnswerCause:
    """The cause of the answer to a client whose request ended by such a fault."""
    if blame is Blame.CLIENT:
        return {499: AnswerCause.CLIENT_LEFT, 408: AnswerCause.CLIENT_SLOW}.get(status, AnswerCause.BAD_REQUEST)
    if stage is Stage.CHOOSE:
        return AnswerCause.NO_BACKEND if blame is Blame.BACKEND else AnswerCause.INTERNAL
    if stage is Stage.CONNECT:
        return AnswerCause.CONNECTION_FAILED
    return AnswerCause.TIMEOUT if status == 504 else AnswerCause.BACKEND_FAILED
