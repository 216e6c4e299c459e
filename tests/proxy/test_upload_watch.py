"""Which uploads hold a backend, and for how long they are slow; over real sockets, by a clock of the test."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from devtools.scripted_backend import OK, Peer, ScriptedBackend
from devtools.wait import PATIENCE, eventually
from lbflask.core.http.framing import Framing
from lbflask.core.model import Backend
from lbflask.core.slow_uploads import Uploads
from lbflask.proxy.client_request import ClientBody, ServerExchange
from lbflask.proxy.dispatcher import RequestContext
from lbflask.proxy.upload_watch import SCAN_EVERY, UploadWatch
from lbflask.upstream.connection_pool import ConnectionPool
from lbflask.upstream.requests_adapter import BackendAdapter, forwarding_session
from tests.proxy.test_dispatcher import Balancer, inbound
from tests.store.stores import ManualClock

#: Bytes of an upload; more than the buffers of two sockets hold.
LENGTH = 20_000_000


@dataclass
class Scene:
    """An upload to the backend `one`, which responds when it has the whole body; `pieces` has what the client sends."""

    balancer: Balancer
    clock: ManualClock = field(default_factory=ManualClock)
    pieces: queue.Queue[bytes] = field(default_factory=queue.Queue)
    sent: int = 0

    def __post_init__(self) -> None:
        self.watch = UploadWatch(self.balancer.dispatcher.services.in_flight, self.clock)

    def send(self, size: int) -> None:
        self.sent += size
        self.pieces.put(bytes(size))

    def look(self, seconds: float) -> Uploads | None:
        """What a scan finds so many seconds later, when the client has nothing more to send."""
        eventually(self._is_sent, "what the client has sent is at the backend")
        self.clock.advance(seconds)
        return self.watch.of_pool("default").get("one")

    def _is_sent(self) -> bool:
        (context,) = self.balancer.dispatcher.services.in_flight.active
        assert isinstance(context, RequestContext)
        upstream, body = context.upstream, context.request.body
        assert body is not None
        connection = None if upstream is None else upstream.connection
        return connection is not None and connection.awaits_client() and body.received == self.sent


@contextmanager
def uploading(concurrent: bool = True, reads: threading.Event | None = None) -> Iterator[Scene]:
    """A client that uploads, as a server reads its body in the background (`concurrent`) or at once. The backend reads
    the body after the event.
    """

    def script(peer: Peer) -> None:
        peer.read_head()
        if reads is not None:
            reads.wait(PATIENCE)
        peer.read(LENGTH)
        peer.send(OK)
        peer.read_to_end()

    with ExitStack() as stack:
        backend = stack.enter_context(ScriptedBackend(script))
        pool = ConnectionPool(time.monotonic)
        stack.callback(pool.close)
        session = forwarding_session(pool, between_bytes=PATIENCE)
        one = Backend("one", "127.0.0.1", backend.port, backend.url)
        scene = Scene(Balancer([one], cast("BackendAdapter", session.get_adapter("http://")).transport))
        exchange = cast("ServerExchange", object()) if concurrent else None
        body = ClientBody(lambda: scene.pieces.get(timeout=PATIENCE), LENGTH, exchange)
        request = replace(inbound("POST", framing=Framing(LENGTH)), body=body)
        thread = threading.Thread(target=lambda: scene.balancer.ask(request))
        thread.start()
        stack.callback(thread.join, PATIENCE)
        eventually(lambda: scene.balancer.dispatcher.services.in_flight.active, "it has begun")
        try:
            yield scene
        finally:
            if scene.sent < LENGTH:
                scene.send(LENGTH - scene.sent)


@pytest.mark.parametrize("concurrent", [True, False])
def test_an_upload_is_slow_after_five_seconds_with_few_bytes(concurrent: bool) -> None:
    with uploading(concurrent) as scene:
        assert scene.look(0.0) == Uploads(1, 0, 0.0, {})
        scene.send(1000)
        assert scene.look(4.5) == Uploads(1, 0, 0.0, {})
        assert scene.look(0.5) == Uploads(1, 1, 5.0, {"192.0.2.1": 1})
        assert scene.watch.of_pool("another") == {}
        scene.send(500_000)
        assert scene.look(1.0) == Uploads(1, 0, 0.0, {})


def test_a_scan_is_used_for_a_while() -> None:
    with uploading() as scene:
        first = scene.look(0.0)
        assert first is not None
        assert scene.look(SCAN_EVERY / 2) is first
        assert scene.look(SCAN_EVERY / 2) == first


def test_a_whole_upload_holds_its_backend_no_longer_for_the_sake_of_its_client() -> None:
    with uploading() as scene:
        assert scene.look(0.0) is not None
        scene.send(LENGTH)
        scene.clock.advance(10.0)

        def ended() -> bool:
            scene.clock.advance(1.0)
            return scene.watch.of_pool("default") == {}

        eventually(ended, "it is none any more")


def test_an_upload_that_its_backend_does_not_take_is_no_slow_one() -> None:
    reads = threading.Event()
    with uploading(reads=reads) as scene:
        assert scene.look(0.0) == Uploads(1, 0, 0.0, {})
        scene.send(LENGTH)

        def is_stuck() -> bool:
            scene.clock.advance(10.0)
            return scene.watch.of_pool("default") == {}

        eventually(is_stuck, "the backend is waited for")
        scene.clock.advance(10.0)
        assert scene.watch.of_pool("default") == {}
        reads.set()
