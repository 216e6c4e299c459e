"""Which requests are copied, and that a copy is nobody's concern."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence

import pytest

from devtools.wait import eventually
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.framing import CHUNKED, NO_BODY, Framing
from lbflask.core.http.target import Target
from lbflask.core.http.trusted_proxies import TrustedProxies
from lbflask.core.model import Pool
from lbflask.fleet.fleet import Fleet
from lbflask.proxy.attempts import Attempts
from lbflask.proxy.balancer import PoolBalancer
from lbflask.proxy.client_request import ClientBody, ClientRequest
from lbflask.proxy.mirroring import MAX_BODY, Mirroring
from lbflask.proxy.services import MAX_MIRRORED, HopCache, InFlight, SharedServices
from lbflask.proxy.settings import ProxySettings
from lbflask.store.memory import MemoryStore
from lbflask.telemetry import debug
from lbflask.upstream.backend_request import BackendRequest
from lbflask.upstream.backend_transport import BackendResponse, BackendTransport
from tests.support.pools import backend


class Shadow(BackendTransport):
    """The transport of a pool, which records the copies and fails with the given error."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.copies: list[BackendRequest] = []

    def send(self, request: BackendRequest, timeouts: object) -> BackendResponse:
        self.copies.append(request)
        raise self.error


FAULT = Fault(Blame.BACKEND, Stage.CONNECT, 502, "refused")


class Rig:
    def __init__(self, percent: float = 100, chances: Sequence[float] = (), error: Exception = FAULT) -> None:
        self.shadow = Shadow(error)
        self.occupancy = InFlight()
        ids = itertools.count()
        house = SharedServices(
            in_flight=self.occupancy,
            hops=HopCache(TrustedProxies(), None, forwarded=False),
            clock=lambda: 0.0,
            new_request_id=lambda: f"id-{next(ids)}",
        )
        fleet = Fleet(MemoryStore(lambda: 1000.0), ["shadow"])
        attempts = Attempts("shadow", fleet, self.shadow, ProxySettings(), house)
        balancer = PoolBalancer(Pool("shadow", (backend("a"), backend("b")), "first"), fleet)
        self.mirroring = Mirroring(balancer, attempts, percent, house, iter(chances).__next__)

    def ask(self, body: ClientBody | None = None, framing: Framing = NO_BODY, upgrade: str = "") -> BackendRequest:
        inbound = ClientRequest(
            method="GET",
            raw_target="/x",
            target=Target("/x"),
            protocol="HTTP/1.1",
            fields=[],
            host="shop",
            peer="192.0.2.1",
            scheme="http",
            framing=framing,
            body=body,
        )
        request = BackendRequest("GET", "/rewritten", [("X-A", "1")], framing, body, upgrade=upgrade)
        self.mirroring.copy(inbound, "192.0.2.1", request, "id-1")
        return request

    def settle(self) -> int:
        """How many copies were sent, once all are over."""
        eventually(lambda: not self.occupancy.mirrored, "the copies are over")
        return len(self.shadow.copies)


def test_a_copy_is_a_request_of_its_own_for_one_backend() -> None:
    rig = Rig()
    request = rig.ask()
    assert rig.settle() == 1
    (copy,) = rig.shadow.copies
    assert copy is not request
    assert copy.fields is not request.fields
    assert (copy.target, copy.fields, copy.url) == ("/rewritten", [("X-A", "1")], "http://a:80")


def test_a_trace_tells_a_copy_from_its_request(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debug.SWITCH, "enabled", True)
    rig = Rig()
    with caplog.at_level(logging.DEBUG, "lbflask.debug"):
        rig.ask()
        assert rig.settle() == 1
    assert "id=id-1+mirror step=attempt number=1 backend=a" in caplog.text


def test_chance_gives_as_many_as_are_asked_for() -> None:
    rig = Rig(25, [number / 100 for number in range(100)])
    for _ in range(100):
        rig.ask()
        rig.settle()
    assert rig.settle() == 25


def test_a_body_has_to_be_whole_to_be_sent_twice() -> None:
    rig = Rig()
    rig.ask(ClientBody(lambda: b"", 5), Framing(5))
    rig.ask(ClientBody(lambda: b"", None), CHUNKED)
    large = b"x" * (MAX_BODY + 1)
    rig.ask(ClientBody(lambda: b"", len(large), whole=large), Framing(len(large)))
    assert rig.settle() == 0
    rig.ask(ClientBody(lambda: b"", 5, whole=b"hello"), Framing(5))
    assert rig.settle() == 1


def test_what_would_be_a_tunnel_has_no_copy() -> None:
    rig = Rig()
    rig.ask(upgrade="websocket")
    assert rig.settle() == 0


def test_without_room_a_copy_is_left_out_and_counted() -> None:
    rig = Rig()
    rig.occupancy.mirrored.update(range(MAX_MIRRORED))
    rig.ask()
    assert (len(rig.occupancy.mirrored), rig.occupancy.unmirrored, rig.shadow.copies) == (MAX_MIRRORED, 1, [])


def test_an_error_that_nobody_foresaw_is_logged_and_leaves_the_room(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(error=RuntimeError("a bug"))
    with caplog.at_level(logging.ERROR, "lbflask"):
        rig.ask()
        assert rig.settle() == 1
        eventually(lambda: "a copy of a request could not be sent" in caplog.text, "the log tells")
