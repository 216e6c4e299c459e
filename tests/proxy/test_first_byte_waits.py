"""Which requests wait for the first byte of a backend, and for how long; over real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import cast

from devtools.scripted_backend import OK, Peer, ScriptedBackend, answering
from devtools.wait import PATIENCE, eventually
from lbflask.core.model import Backend
from lbflask.core.retry import RetryPolicy
from lbflask.proxy.first_byte_waits import LEAST, FirstByteWaits
from lbflask.upstream.connection_pool import ConnectionPool
from lbflask.upstream.requests_adapter import BackendAdapter, forwarding_session
from tests.proxy.test_dispatcher import Balancer, inbound

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


@contextmanager
def serving(play: threading.Event, after_head: threading.Event) -> Iterator[tuple[Balancer, list[threading.Thread]]]:
    """A balancer with one backend, which sends a head when the first event is set, and the body after the second."""

    def script(peer: Peer) -> None:
        peer.read_head()
        play.wait(PATIENCE)
        peer.send(HEAD)
        after_head.wait(PATIENCE)
        peer.send(b"ok")
        peer.read_to_end()

    with ExitStack() as stack:
        backend = stack.enter_context(ScriptedBackend(script))
        pool = ConnectionPool(time.monotonic)
        stack.callback(pool.close)
        session = forwarding_session(pool, between_bytes=PATIENCE)
        one = Backend("one", "127.0.0.1", backend.port, backend.url)
        balancer = Balancer([one], cast("BackendAdapter", session.get_adapter("http://")).transport)
        threads = [threading.Thread(target=lambda: balancer.ask(inbound())) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield balancer, threads
        finally:
            play.set()
            after_head.set()
            for thread in threads:
                thread.join(PATIENCE)


def test_requests_without_a_first_byte_are_counted_until_it_comes() -> None:
    first_byte, rest = threading.Event(), threading.Event()
    with serving(first_byte, rest) as (balancer, _):
        in_flight, later = balancer.dispatcher.services.in_flight, 30.0
        waits = FirstByteWaits(in_flight, lambda: time.monotonic() + later)
        young = FirstByteWaits(in_flight, lambda: time.monotonic() - LEAST)
        eventually(lambda: FirstByteWaits(in_flight, lambda: time.monotonic() + 30.0).of_pool("default"), "they wait")
        eventually(
            lambda: FirstByteWaits(in_flight, lambda: time.monotonic() + 30.0).of_pool("default")["one"].count == 2,
            "both wait",
        )
        found = waits.of_pool("default")["one"]
        assert found.count == 2
        assert 30.0 <= found.oldest < 30.0 + PATIENCE
        assert waits.of_pool("another") == {}
        assert young.of_pool("default") == {}
        first_byte.set()
        later = 60.0  # the last scan is too old
        eventually(lambda: not waits.of_pool("default"), "responses that have begun wait no longer")
        assert len(in_flight.active) == 2


def silent(peer: Peer) -> None:
    peer.read_head()
    peer.read_to_end()


def asked_while_one_is_silent(method: str, *, end_waits: bool = True) -> tuple[int, list[str], bool]:
    """The status of a request that came to a silent backend, the faults of its attempts, and whether it was ended."""
    with ExitStack() as stack:
        one, two = stack.enter_context(ScriptedBackend(silent)), stack.enter_context(ScriptedBackend(answering(OK)))
        pool = ConnectionPool(time.monotonic)
        stack.callback(pool.close)
        session = forwarding_session(pool, between_bytes=PATIENCE)
        adapter = cast("BackendAdapter", session.get_adapter("http://")).transport
        backends = [Backend(name, "127.0.0.1", at.port, at.url) for name, at in (("one", one), ("two", two))]
        balancer = Balancer(
            backends, adapter, end_waits=end_waits, retries=RetryPolicy(budget_percent=0, budget_floor=0)
        )
        answers: list[int] = []
        thread = threading.Thread(target=lambda: answers.append(balancer.ask(inbound(method))[0]))
        thread.start()
        in_flight = balancer.dispatcher.services.in_flight
        waits = FirstByteWaits(in_flight, lambda: time.monotonic() + 30.0)
        eventually(lambda: FirstByteWaits(in_flight, lambda: time.monotonic() + 30.0).of_pool("default"), "it waits")
        waits.end("default", {"two"})
        waits.end("another", {"one"})
        assert not answers
        waits.end("default", {"one"})
        ended = end_waits
        if not end_waits:
            thread.join(0.2)
            ended = not thread.is_alive()
            one.connection(0).send(OK)
        thread.join(PATIENCE)
        (event,) = balancer.events
        return answers[0], [str(attempt.fault or "") for attempt in event.attempts], ended


def test_a_get_is_answered_by_another_backend_and_costs_no_budget() -> None:
    status, faults, _ = asked_while_one_is_silent("GET")
    assert status == 200
    assert len(faults) == 2
    assert faults[0].endswith("and then found down by its checks")
    assert faults[1] == ""


def test_a_post_ends_since_the_backend_may_have_acted_on_it() -> None:
    status, faults, _ = asked_while_one_is_silent("POST")
    assert (status, len(faults)) == (502, 1)


def test_a_pool_may_keep_its_requests_waiting() -> None:
    assert asked_while_one_is_silent("GET", end_waits=False) == (200, [""], False)
