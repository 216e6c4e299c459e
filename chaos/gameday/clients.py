"""Incidents of clients: limits that refuse, one client with most of the traffic, slow uploads, a full queue."""

from __future__ import annotations

from chaos.gameday.fleet import GameFleet, Settings
from chaos.gameday.incident import Incident

#: The address of a client apart from all others.
STRANGER = "127.0.0.2"
#: Clients beyond the slots and the queue of the bounded backend, and the slots that are enough for all of them.
CROWD, ENOUGH = 12, 64


def exceed_limit(fleet: GameFleet) -> None:
    """Four times as many requests as the limit allows."""
    fleet.incident.enter_context(fleet.clients(0).flood("/limited", 40.0))


def one_client(fleet: GameFleet) -> None:
    """One address sends several times as many requests as all others."""
    fleet.incident.enter_context(fleet.clients(0).flood("/", 400.0, STRANGER))


def leave(fleet: GameFleet) -> None:
    """The clients are stopped at their source."""
    fleet.incident.close()


def slow_uploads(fleet: GameFleet) -> None:
    """Uploads of a byte a second hold their backends."""
    fleet.incident.enter_context(fleet.clients(0).dripping(24))


def fill_queue(fleet: GameFleet) -> None:
    """More requests than a bounded backend has slots and its queue has places."""
    for _ in range(CROWD):
        fleet.incident.enter_context(fleet.clients(0).flood("/single/slow", 5.0))


def more_slots(fleet: GameFleet) -> None:
    """The files allow the backend more requests at once."""

    def change(settings: Settings) -> None:
        settings["pools"]["single"]["backends"][0]["max_connections"] = ENOUGH

    fleet.write(change)


INCIDENTS = [
    Incident("rate limit refuses half", exceed_limit,
             {"doctor": r"answers: clients get 429, rate limit narrow: [\d.]+/s, \d+% of the answers",
              "status": "429.*narrow"}, "clients-get-429", advice="`rate_limits.narrow.rate = [0-9]+`", checks=2.0),
    Incident("one client with most of the traffic", one_client,
             {"doctor": r"clients: 127\.0\.0\.2 makes \d+% of the requests \(\d+/s of \d+/s\), the next client"},
             "slow", advice=r"`rate_limits.each.rate = \d+` and `rate_limits.each.everywhere = true`", checks=5.0),
    Incident("slow uploads hold backends", slow_uploads, {"doctor": r"backend w\d: \d+ slow uploads hold it"}, "slow",
             advice="`timeouts.request = 60`", by_hand=leave, hand="end the uploads that have begun", checks=8.0),
    Incident("queue for slots full", fill_queue,
             {"doctor": r"answers: clients get 503, queue (full|timeout) single: [\d.]+/s, \d+% of the answers",
              "status": "queue (full|timeout)", "metrics": r"queue_refused_total\S* [1-9]"}, "clients-get-503",
             advice="raise `max_connections`.*`lbflask reload`", by_hand=more_slots,
             hand="raise `max_connections` in the file", checks=4.0),
]  # fmt: skip
