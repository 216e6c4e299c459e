"""Two attempts of one request at the same time, at real backends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from devtools.scripted_backend import OK, Peer, Script, answering, answering_always
from devtools.wait import PATIENCE, eventually
from lbflask.core.faults import Outpaced
from lbflask.core.hedging import LEAST_RESPONSES
from lbflask.core.http.framing import Framing
from lbflask.core.http.types import Fields
from lbflask.core.proxy_protocol import header
from lbflask.core.retry import RetryPolicy
from lbflask.proxy.client_request import ServerExchange
from lbflask.telemetry.events import AttemptEvent
from tests.proxy.test_dispatcher import Balancer, Street, inbound

HEDGED = RetryPolicy(2, hedge=0.95)
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
FAST = 0.001


class Stalling:
    """A backend that reads requests, and responds when it is released."""

    def __init__(self, answer: bytes = OK) -> None:
        self.answer = answer
        self.released = threading.Event()
        self.asked = threading.Event()
        self.ended = threading.Event()

    def play(self, peer: Peer) -> None:
        while peer.read_head():
            self.asked.set()
            self.released.wait(PATIENCE)
            if not self.answer:
                return
            try:
                peer.send(self.answer)
                if not peer.read_to_end():
                    self.ended.set()
            except OSError:
                self.ended.set()
            return


@pytest.fixture
def street() -> Iterator[Street]:
    street = Street()
    with street.stack:
        yield street


def hedging(
    street: Street, *scripts: Script | None, known: int = LEAST_RESPONSES * 2, latency: float = FAST, **rules: Any
) -> Balancer:
    """A balancer whose pool has had so many responses of that latency."""
    balancer = street.balancer(*scripts, retries=HEDGED, **rules)
    traffic = balancer.fleet.traffic("default")
    for _ in range(known):
        traffic.sample(AttemptEvent("b0", latency))
        traffic.answered("b0", 200)
    traffic.heartbeat.beat(balancer.store)
    return balancer


def outcomes(balancer: Balancer) -> list[tuple[str, str]]:
    return [
        (attempt.backend, "" if attempt.fault is None else type(attempt.fault).__name__)
        for attempt in balancer.events[-1].attempts
    ]


def in_flight(balancer: Balancer) -> dict[str, int]:
    return balancer.fleet.traffic("default").in_flight.local()


def test_another_backend_responds_in_the_place_of_a_slow_one(street: Street) -> None:
    slow = Stalling()
    balancer = hedging(street, slow.play, answering(OK))
    assert balancer.ask(inbound())[::2] == (200, b"ok")
    assert slow.asked.is_set()
    assert outcomes(balancer) == [("b0", "Outpaced"), ("b1", "")]
    served = balancer.events[-1].served
    assert served is not None
    assert served.backend == "b1"
    eventually(lambda: not in_flight(balancer), "the slow attempt has ended")
    slow.released.set()
    eventually(slow.ended.is_set, "its connection is closed")


def test_the_slow_backend_may_still_be_the_first(street: Street) -> None:
    first, second = Stalling(), Stalling()

    def release() -> None:
        second.asked.wait(PATIENCE)
        first.released.set()

    threading.Thread(target=release).start()
    balancer = hedging(street, first.play, second.play)
    assert balancer.ask(inbound())[0] == 200
    assert outcomes(balancer) == [("b0", ""), ("b1", "Outpaced")]
    second.released.set()
    eventually(lambda: not in_flight(balancer), "both attempts have ended")


def test_a_fast_backend_is_asked_alone(street: Street) -> None:
    balancer = hedging(street, answering_always(OK), answering_always(OK), latency=PATIENCE)
    for _ in range(6):
        assert balancer.ask(inbound())[0] == 200
    assert [len(event.attempts) for event in balancer.events] == [1] * 6
    assert [len(house.connections) for house in street.houses] == [1, 1], "connections are reused as without hedging"


@pytest.mark.parametrize("bad", [BUSY, b""])
def test_the_second_attempt_wins_only_with_a_good_response(street: Street, bad: bytes) -> None:
    first = Stalling()

    def second(peer: Peer) -> None:
        peer.read_head()
        peer.send(bad)
        first.released.set()

    balancer = hedging(street, first.play, second)
    assert balancer.ask(inbound())[::2] == (200, b"ok")
    assert [backend for backend, outcome in outcomes(balancer) if not outcome] == ["b0"]
    eventually(lambda: not in_flight(balancer), "both attempts have ended")


def test_two_failures_are_retried_at_a_third_backend(street: Street) -> None:
    first = Stalling(b"")

    def second(peer: Peer) -> None:
        peer.read_head()
        first.released.set()

    balancer = hedging(street, first.play, second, answering(OK))
    assert balancer.ask(inbound())[::2] == (200, b"ok")
    assert [backend for backend, _ in outcomes(balancer)] == ["b0", "b1", "b2"]
    assert not in_flight(balancer)


def test_a_single_backend_is_waited_for(street: Street) -> None:
    slow = Stalling()
    threading.Timer(0.1, slow.released.set).start()
    balancer = hedging(street, slow.play)
    assert balancer.ask(inbound())[0] == 200
    assert outcomes(balancer) == [("b0", "")]


def test_the_second_attempts_have_a_budget(street: Street) -> None:
    """Fifty requests allow one."""
    slow = [Stalling() for _ in range(2)]
    balancer = hedging(street, *(one.play for one in slow), known=LEAST_RESPONSES)
    slow[1].released.set()
    assert balancer.ask(inbound())[0] == 200
    assert outcomes(balancer) == [("b0", "Outpaced"), ("b1", "")]
    budgets = balancer.fleet.traffic("default").retry_budgets
    assert not budgets.may_hedge(HEDGED)
    slow[0].released.set()


@pytest.mark.parametrize(
    ("method", "body", "fields"),
    [("POST", None, []), ("PUT", [b"hello"], []), ("POST", [b"hello"], [])],
)
def test_only_requests_without_a_body_and_without_effect_are_sent_twice(
    street: Street, method: str, body: list[bytes] | None, fields: Fields
) -> None:
    slow = Stalling()
    threading.Timer(0.1, slow.released.set).start()
    balancer = hedging(street, slow.play, answering(OK))
    framing = None if body is None else Framing(5)
    assert balancer.ask(inbound(method, fields=fields, body=body, framing=framing))[0] == 200
    assert outcomes(balancer) == [("b0", "")]


@pytest.mark.parametrize("known", [0, LEAST_RESPONSES - 1])
def test_nothing_is_sent_twice_before_the_latency_of_the_pool_is_known(street: Street, known: int) -> None:
    slow = Stalling()
    threading.Timer(0.1, slow.released.set).start()
    balancer = hedging(street, slow.play, answering(OK), known=known)
    assert balancer.ask(inbound())[0] == 200
    assert outcomes(balancer) == [("b0", "")]


def test_the_reason_names_the_faster_backend() -> None:
    assert str(Outpaced("b1")) == "ended, since b1 responded first"


class Arrival:
    """The connection of a client, as far as it is stated to backends."""

    peer, peer_port, local = ("192.0.2.1", "http"), "4711", ("10.0.0.1", 80)
    client_certificates = ()
    expects_continue = False

    def on_gone(self, callback: object) -> None:
        """Nobody hangs up."""


def test_each_attempt_states_the_client_to_its_backend(street: Street) -> None:
    expected = header(2, ("192.0.2.1", "4711"), ("10.0.0.1", "80"))
    stated: list[bytes] = []

    def stating(then: Script) -> Script:
        def play(peer: Peer) -> None:
            stated.append(peer.read(len(expected)))
            then(peer)

        return play

    slow = Stalling()
    balancer = hedging(street, stating(slow.play), stating(answering(OK)), proxy_version=2)
    request = inbound()
    request.server_exchange = cast("ServerExchange", Arrival())
    assert balancer.ask(request)[0] == 200
    assert stated == [expected] * 2
    assert outcomes(balancer) == [("b0", "Outpaced"), ("b1", "")]
    slow.released.set()
