"""The incidents that the dashboard is looked at in: by its test, and in the pictures of docs/images/."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass

from chaos.gameday import clients, configurations, processes, stores
from chaos.gameday.backends import become
from chaos.gameday.fleet import GameFleet


@dataclass(frozen=True, slots=True)
class PicturedIncident:
    """An incident of the fleet of a game day. `remedy` gets the advice that the page shows, and may execute it.

    A picture is taken so many seconds after the page has named it as its figures take to show it in full.
    """

    name: str  #: of its picture
    inject: Callable[[GameFleet], None]
    headline: re.Pattern[str]  #: of the page, with the cause and its figure
    advice: re.Pattern[str]  #: what the page shows as the remedy
    remedy: Callable[[GameFleet, str], None]
    settles: float = 3.0
    pictured: bool = True


def _lose_all(fleet: GameFleet) -> None:
    """No backend runs."""
    for member in fleet.members.values():
        member.process.kill()


def _lose_all_of_a_strict_pool(fleet: GameFleet) -> None:
    """The same, where backends that are down get no requests."""
    fleet.apply(lambda settings: settings.update(when_all_down="reject"))
    _lose_all(fleet)


def _start_all(fleet: GameFleet, _: str) -> None:
    for member in fleet.members.values():
        member.restart()
    if fleet.changed:
        fleet.apply()


def _replace_hanging(fleet: GameFleet, advice: str) -> None:
    """Take it out as the page advises, restart it, and enable it."""
    assert "lbflask off w1" in advice
    fleet.command("off", "w1")
    fleet.members["w1"].restart()
    fleet.command("enable", "w1")


def _renew(fleet: GameFleet, _: str) -> None:
    configurations.renew(fleet)
    fleet.reload()


def _kill_frozen(_: GameFleet, advice: str) -> None:
    """The command that the page shows."""
    found = re.search(r"kill -KILL (\d+)", advice)
    assert found is not None, advice
    os.kill(int(found[1]), signal.SIGKILL)


def _exceed(fleet: GameFleet) -> None:
    """Two clients, most of whose requests are refused by a limit: about half of all requests."""
    for _ in range(2):
        fleet.incident.enter_context(fleet.clients(0).flood("/limited", 45.0))


INCIDENTS = (
    PicturedIncident(
        "fail-open",
        _lose_all,
        re.compile(r"^pool default: no backend is well: 3 of 3 get requests all the same \(fail open\)"),
        re.compile(r"repair one"),
        _start_all,
        pictured=False,
    ),
    PicturedIncident(
        "no-backend",
        _lose_all_of_a_strict_pool,
        re.compile(r"^pool default: no backend can serve: clients get 503"),
        re.compile(r"start one"),
        _start_all,
    ),
    PicturedIncident(
        "hanging",
        become("hanging"),
        re.compile(r"^backend w1: \d+ requests? .*\d s.*; its checks pass"),
        re.compile(r"lbflask off w1"),
        _replace_hanging,
        settles=10.0,
    ),
    PicturedIncident(
        "certificate",
        configurations.expire,
        re.compile(r"^tls\.certificate: .* expired .*new clients reject it"),
        re.compile(r"renew the file, which is then loaded within seconds"),
        _renew,
    ),
    PicturedIncident(
        "rate-limit",
        _exceed,
        re.compile(r"^answers: clients get 429, rate limit narrow: [\d.]+/s, \d+% of the answers"),
        re.compile(r"rate_limits\.narrow\.rate"),
        lambda fleet, _: clients.leave(fleet),
        settles=10.0,
    ),
    PicturedIncident(
        "store",
        stores.kill,
        re.compile(r"^store: unreachable .*refused"),
        re.compile(r"start Redis or Valkey"),
        lambda fleet, _: fleet.state.restart(),
    ),
    PicturedIncident(
        "frozen-worker",
        processes.freeze_worker,
        re.compile(r"^instance \S+: worker \d+ has been silent for \d+ s: requests to it hang; 1 of 2 workers serve"),
        re.compile(r"kill -KILL \d+"),
        _kill_frozen,
    ),
)
