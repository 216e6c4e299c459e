"""A backend whose port is known before the balancer starts, and whose answer each test sets.

    backend.answer = says(b"HTTP/1.1 204 No Content\\r\\n\\r\\n")
    ...
    assert backend.request.line == b"GET / HTTP/1.1"

An answer is a function of the Peer and of the request whose head was read. A request keeps to the programme that was
set when it came, so that what one test has left behind is not taken for the next one's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, Queue

from devtools.scripted_backend import OK, Peer
from devtools.wait import PATIENCE


@dataclass(frozen=True, slots=True)
class Received:
    """The head of a request as the backend read it, byte for byte."""

    head: bytes

    @property
    def line(self) -> bytes:
        return self.head.split(b"\r\n")[0]

    @property
    def target(self) -> bytes:
        return self.line.split(b" ")[1]

    @property
    def lines(self) -> list[bytes]:
        """The field lines, in order."""
        return self.head[:-4].split(b"\r\n")[1:]

    @property
    def names(self) -> list[bytes]:
        return [line.partition(b":")[0].lower() for line in self.lines]

    def values(self, name: bytes) -> list[bytes]:
        """What each field of this name says, in order."""
        split = [line.partition(b":") for line in self.lines]
        return [value.strip(b" ") for key, _, value in split if key.lower() == name.lower()]


Answer = Callable[[Peer, Received], None]


def says(*pieces: bytes) -> Answer:
    """An answer: read the request with its body, and send these pieces."""

    def answer(peer: Peer, request: Received) -> None:
        peer.read_body(request.head)
        for piece in pieces:
            peer.send(piece)

    return answer


def says_and_closes(*pieces: bytes) -> Answer:
    """The same, and then the end of the connection."""

    def answer(peer: Peer, request: Received) -> None:
        says(*pieces)(peer, request)
        peer.close()

    return answer


def resets(peer: Peer, request: Received) -> None:
    """An answer: none, and a reset when the request has been read."""
    peer.read_body(request.head)
    peer.reset()


ok = says(OK)


@dataclass(slots=True)
class Programme:
    """What the backend does in one test, and what it sees there."""

    answer: Answer = ok
    requests: list[Received] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)


class ProgrammedBackend:
    """The script for a ScriptedBackend: plays the programme's answer to each request, over all its connections."""

    def __init__(self) -> None:
        self.programme = Programme()

    def play(self, peer: Peer) -> None:
        while head := peer.read_head():
            programme, request = self.programme, Received(head)
            programme.requests.append(request)
            try:
                programme.answer(peer, request)
            except OSError:
                raise
            except Exception as failure:
                programme.failures.append(failure)
                return

    @property
    def answer(self) -> Answer:
        return self.programme.answer

    @answer.setter
    def answer(self, answer: Answer) -> None:
        self.programme.answer = answer

    @property
    def requests(self) -> list[Received]:
        return self.programme.requests

    @property
    def request(self) -> Received:
        """The only request that has come."""
        (request,) = self.programme.requests
        return request

    def takes_the_body(self, reply: bytes = OK) -> Queue[bytes]:
        """Answer with `reply`; the body as it came, with the framing of chunks, is then in the queue."""
        bodies: Queue[bytes] = Queue()

        def answer(peer: Peer, request: Received) -> None:
            bodies.put(peer.read_body(request.head))
            peer.send(reply)

        self.answer = answer
        return bodies

    def takes_all(self) -> Queue[bytes]:
        """Answer nothing; what comes until the end of the connection is then in the queue."""
        taken: Queue[bytes] = Queue()

        def answer(peer: Peer, _: Received) -> None:
            try:
                taken.put(peer.read_to_end())
            except OSError:
                taken.put(peer.received.partition(b"\r\n\r\n")[2])
                raise

        self.answer = answer
        return taken


def next_of(queue: Queue[bytes]) -> bytes:
    """What the backend tells next."""
    try:
        return queue.get(timeout=PATIENCE)
    except Empty:
        raise AssertionError("the backend never got that far") from None


def unchunked(raw: bytes) -> tuple[bytes, list[bytes]]:
    """The body and the trailer lines of a chunked message. Fails when it is not complete and plain."""
    body = b""
    while True:
        line, _, raw = raw.partition(b"\r\n")
        size = int(line, 16)  # no extension
        if not size:
            break
        assert raw[size : size + 2] == b"\r\n", "the chunks break off"
        body, raw = body + raw[:size], raw[size + 2 :]
    assert raw.endswith(b"\r\n"), "the chunks break off"
    return body, raw[:-2].split(b"\r\n")[:-1] if raw != b"\r\n" else []
