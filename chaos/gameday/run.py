"""Runs one incident: inject, look until all surfaces have named it, follow the advice, look until they are clean."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack

import redis

from chaos.gameday.fleet import GameFleet, light_load
from chaos.gameday.incident import Incident, Result, Sighting
from chaos.gameday.operator import Operator
from chaos.gameday.surfaces import Surfaces
from devtools.report import say

#: Seconds between two looks at the surfaces; seconds until a new fleet must be clean.
LOOK_EVERY, CLEAN_WITHIN = 0.2, 30.0
#: What an incident may raise; the game day goes on with the next one.
FAILURES = (AssertionError, OSError, RuntimeError, ValueError, redis.RedisError, subprocess.SubprocessError)


def run(incident: Incident, fleet: GameFleet) -> Result:
    """The outcome. What the incident has started has ended; the fleet is as before only if the remedy ended it."""
    sighting = Sighting(incident)
    operator = Operator(fleet, incident.executes, incident.viewer)
    fleet.said.clear()
    with ExitStack() as held, light_load(fleet):
        fleet.incident = held
        surfaces = Surfaces(fleet, incident.viewer, incident.named)
        usual = _troubles(fleet, surfaces, CLEAN_WITHIN)
        try:
            incident.inject(fleet)
            _watch(sighting, surfaces)
            if sighting.finding is not None:
                operator.relieve(sighting.finding)
            if incident.by_hand is not None:
                incident.by_hand(fleet)
            if sighting.finding is not None:
                operator.remedy(sighting.finding)
            ended, remains = _await_clean(surfaces, usual, incident, operator)
            if ended is None:
                say(f"  {fleet.said[-6:]}")
            if fleet.changed:  # the remedy was another configuration than the usual one
                fleet.apply()
        except FAILURES as error:
            line = f"{type(error).__name__}: {error}".splitlines()[0]
            return Result(incident, sighting, None, operator.executed, error=line)
    return Result(incident, sighting, ended, operator.executed, remains)


def _watch(sighting: Sighting, surfaces: Surfaces) -> None:
    """Look until the incident is named everywhere and nothing is wrong, or the time is over."""
    began = time.monotonic()
    while True:
        at = time.monotonic() - began
        view = surfaces.read()
        if at <= sighting.incident.limit:
            sighting.look(view, time.monotonic() - began)
        if sighting.complete or at > sighting.incident.limit:
            return
        time.sleep(LOOK_EVERY)


def _troubles(fleet: GameFleet, surfaces: Surfaces, seconds: float) -> set[tuple[str, str]]:
    """The findings of a fleet at rest that are not good: none, or those that last."""
    deadline = time.monotonic() + seconds
    while (troubles := surfaces.read().troubles) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
    if troubles:
        say(f"  before the incident: {sorted(troubles)}; {fleet.said[-4:]}")
    return troubles


def _await_clean(
    surfaces: Surfaces, usual: set[tuple[str, str]], incident: Incident, operator: Operator
) -> tuple[float | None, str]:
    """Seconds until `doctor` has no finding that it did not have before, for as long as the incident takes to settle,
    while the operator follows its advice; None, and the findings, if some remain.
    """
    began, clean_since = time.monotonic(), None
    while True:
        view = surfaces.read()
        elapsed = time.monotonic() - began
        remaining = [one for one in view.findings if one.level != "good" and one.key not in usual]
        if view.findings and not remaining:
            clean_since = elapsed if clean_since is None else clean_since
            if elapsed - clean_since >= incident.settles:
                return clean_since, ""
        else:
            clean_since = None
            if elapsed > incident.ended_within:
                return None, "; ".join(map(str, remaining)) or "doctor does not answer"
        operator.follow(remaining)
        time.sleep(LOOK_EVERY)


def all_of(incidents: list[Incident], fleets: Callable[[ExitStack], GameFleet], budget: float) -> list[Result]:
    """The outcomes. An incident that does not end by its remedy is followed by a new fleet."""
    results, deadline = [], time.monotonic() + budget
    with ExitStack() as running:
        fleet: GameFleet | None = None
        for incident in incidents:
            if time.monotonic() > deadline:
                results.append(Result(incident, Sighting(incident), None, error="not run: the time is over"))
                continue
            began = time.monotonic()
            try:
                fleet = fleet or fleets(running)
                result = run(incident, fleet)
            except AssertionError as error:
                result = Result(incident, Sighting(incident), None, error=f"no fleet: {error}".splitlines()[0])
            say(f"{incident.name}: {result.verdict}, {time.monotonic() - began:.0f} s; {', '.join(result.executed)}")
            results.append(result)
            if result.ended is None:
                running.close()
                fleet = None
    return results
