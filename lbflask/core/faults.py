"""The errors of an attempt: who is to blame, how far the request had got, and whether a replay is safe."""

from __future__ import annotations

from enum import StrEnum


class Blame(StrEnum):
    """Who is to blame."""

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
    """A resource that this process or its machine can run out of."""

    DESCRIPTORS = "descriptors"
    PORTS = "ports"
    MEMORY = "memory"
    THREADS = "threads"
    NETWORK = "network"  #: the machine's interface is down


class Fault(Exception):
    """A failed attempt.

    `status` is the status for the client if no other attempt succeeds. `reused`: the connection had served a request
    before. `answered`: at least one byte of the response was received. Together they distinguish a keep-alive
    connection that the backend closed at the same moment (RFC 9112 §9.3.1) from a failure.
    """

    def __init__(
        self, blame: Blame, stage: Stage, status: int, reason: str, *, reused: bool = False, answered: bool = False
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
    """A resource that this process lacks. No backend is to blame: none is ejected, and there is no retry."""

    def __init__(self, stage: Stage, resource: Resource, reason: str) -> None:
        super().__init__(Blame.SELF, stage, 503, reason)
        self.resource = resource
