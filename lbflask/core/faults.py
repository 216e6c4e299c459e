"""The one error tree of an attempt: whose fault it was, how far the request had got, and whether it may be replayed."""

from __future__ import annotations

from enum import StrEnum


class Blame(StrEnum):
    """Whose fault it was."""

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


class Resource(StrEnum):
    """What this process or its machine can run out of."""

    DESCRIPTORS = "descriptors"
    PORTS = "ports"
    MEMORY = "memory"
    THREADS = "threads"
    NETWORK = "network"  #: the machine's interface is down


class Fault(Exception):
    """A failed attempt.

    `status` is what the client is told when nothing better happens. `reused` says that the connection had served
    before, and `answered` that at least one byte of the response had come: together they tell a keep-alive
    connection that the backend closed in the same moment (RFC 9112 §9.3.1) from a real failure.
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
    ) -> None:
        super().__init__(reason)
        self.blame = blame
        self.stage = stage
        self.status = status
        self.reason = reason
        self.reused = reused
        self.answered = answered

    def __repr__(self) -> str:
        return f"Fault({self.blame}/{self.stage} {self.status}: {self.reason})"


class Shortage(Fault):
    """A resource that this process lacks. Blames no backend: it ejects none, hints at none, and is not tried again."""

    def __init__(self, stage: Stage, resource: Resource, reason: str) -> None:
        super().__init__(Blame.SELF, stage, 503, reason)
        self.resource = resource
