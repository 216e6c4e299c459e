"""How the benchmark of fairness counts turns, and judges them."""

from __future__ import annotations

import math
import threading

from benchmarks.fairness import FIRST, LATER, Round, judge, measure, typical
from devtools.scripted_backend import OK, Peer, ScriptedBackend
from devtools.wait import PATIENCE


def test_a_client_alone_waits_for_nobody() -> None:
    def serve(peer: Peer) -> None:
        while peer.read_head():
            peer.send(OK)

    with ScriptedBackend(serve) as server:
        found = measure(server.port, 1, 0.5)
    assert found.first in (0.0, math.inf), "infinite, if this machine was too busy to serve it in time"
    assert not found.later > 0.0


def test_a_server_that_serves_one_client_again_and_again_is_unfair_to_the_other() -> None:
    """Also if this machine is too busy for any response: then there is no proof of the contrary."""
    served, enough, turn = [], threading.Event(), threading.Lock()

    def serve(peer: Peer) -> None:
        favourite = turn.acquire(blocking=False)
        while peer.read_head():
            if not favourite:
                enough.wait(PATIENCE)
            peer.send(OK)
            served.append(favourite)
            if served.count(True) >= 20 * FIRST:
                enough.set()

    with ScriptedBackend(serve) as server:
        first, _ = judge("unfair", measure(server.port, 2, 2.0))
        enough.set()
    assert not first.met


def test_the_medians_of_the_rounds_are_judged() -> None:
    rounds = [Round(5.0, FIRST, 9.0, LATER + 1), Round(3.0, 9.0, 8.0, LATER + 1), Round(4.0, 0.5, 7.0, 1.0)]
    assert typical(rounds) == Round(4.0, FIRST, 8.0, LATER + 1)
    assert [check.met for check in judge("lbflask", typical(rounds))] == [True, False]
