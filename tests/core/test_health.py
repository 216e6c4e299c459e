from __future__ import annotations

import re
from itertools import product

import pytest

from lbflask.config.health import HealthCheckConfig
from lbflask.core.health import Observation, Thresholds, in_transition, observe
from lbflask.core.model import ActiveHealth, Health

HISTORIES = ["".join(history) for length in range(1, 11) for history in product("+-", repeat=length)]


def play(history: str, thresholds: Thresholds, start: ActiveHealth | None = None) -> ActiveHealth:
    """The n-th observation, counting from 1, comes at n seconds."""
    state = start or ActiveHealth()
    for moment, sign in enumerate(history, start=1):
        state = observe(state, Observation(sign == "+", f"{sign}{moment}"), thresholds, float(moment))
    return state


def health_of(history: str, thresholds: Thresholds) -> Health:
    """The oracle. The last run that was long enough has decided; before the first of those, the first observation."""
    runs = list(re.finditer(r"\++|-+", history))
    decided = Health.UP if history[0] == "+" else Health.DOWN
    for run in runs:
        rises = run[0][0] == "+"
        if len(run[0]) >= (thresholds.rise if rises else thresholds.fall):
            decided = Health.UP if rises else Health.DOWN
    return decided


@pytest.mark.parametrize("rise", [1, 2, 3, 4])
@pytest.mark.parametrize("fall", [1, 2, 3, 4])
def test_every_history_up_to_ten_observations_ends_where_the_oracle_says(rise: int, fall: int) -> None:
    thresholds = Thresholds(rise, fall)
    for history in HISTORIES:
        state = play(history, thresholds)
        expected = health_of(history, thresholds)
        assert state.health is expected, history
        # The latest observations in a row that contradict it; none when the latest agrees.
        contradiction = history[len(history.rstrip("-" if expected is Health.UP else "+")) :]
        assert state.streak == len(contradiction), history
        assert in_transition(state) == bool(contradiction), history
        assert state.reason == f"{history[-1]}{len(history)}"
        changed = [
            moment
            for moment in range(1, len(history) + 1)
            if moment == 1
            or health_of(history[:moment], thresholds) is not health_of(history[: moment - 1], thresholds)
        ]
        assert state.since == changed[-1], history


@pytest.mark.parametrize("thresholds", [Thresholds(1, 1), Thresholds(2, 3), Thresholds(4, 2)], ids=str)
@pytest.mark.parametrize("before", ["+", "-", "+-", "-+", "+--", "-+++"])
def test_every_history_goes_on_from_what_a_predecessor_left(before: str, thresholds: Thresholds) -> None:
    """What the store keeps of a history is all that the rest of it needs."""
    settled = Health.UP if before[0] == "+" else Health.DOWN
    streak = len(before) - 1
    if streak >= (thresholds.fall if settled is Health.UP else thresholds.rise):
        return  # no predecessor leaves that
    left = ActiveHealth(settled, streak, "left", -1.0)
    for history in HISTORIES:
        state = play(history, thresholds, left)
        assert state.health is health_of(before + history, thresholds), history
        flips = [
            moment
            for moment in range(1, len(history) + 1)
            if health_of(before + history[:moment], thresholds)
            is not health_of(before + history[: moment - 1], thresholds)
        ]
        assert state.since == (flips[-1] if flips else -1.0), history
        assert state.reason == f"{history[-1]}{len(history)}"
        assert state.streak < max(thresholds.rise, thresholds.fall)


@pytest.mark.parametrize("start", [Health.CHECKING, Health.UNKNOWN])
@pytest.mark.parametrize(("ok", "settled"), [(True, Health.UP), (False, Health.DOWN)])
def test_the_first_observation_of_a_backend_decides_at_once(start: Health, ok: bool, settled: Health) -> None:
    state = observe(ActiveHealth(start, reason="new", since=1.0), Observation(ok, "seen"), Thresholds(3, 3), 5.0)
    assert state == ActiveHealth(settled, 0, "seen", 5.0)


def test_one_lost_packet_does_not_move_traffic() -> None:
    state = play("++++-++++-+", Thresholds(rise=2, fall=2))
    assert (state.health, state.since) == (Health.UP, 1.0)


def test_an_agreeing_observation_forgets_the_contradictions_before_it() -> None:
    assert play("+--+--", Thresholds(fall=3)).health is Health.UP
    assert play("+--+---", Thresholds(fall=3)).health is Health.DOWN


def test_the_expiry_of_a_certificate_stays_until_another_one_is_presented() -> None:
    thresholds, state = Thresholds(2, 2), ActiveHealth()
    seen = []
    for ok, expires in ((True, 5.0), (True, 0.0), (False, 0.0), (False, 0.0), (True, 7.0), (True, 0.0)):
        state = observe(state, Observation(ok, "", expires=expires), thresholds, 1.0)
        seen.append((state.health, state.certificate_expires))
    up, down = Health.UP, Health.DOWN
    assert seen == [(up, 5.0), (up, 5.0), (up, 5.0), (down, 5.0), (down, 7.0), (up, 7.0)]


def test_observing_leaves_the_old_state_as_it_was() -> None:
    before = ActiveHealth(Health.UP, 0, "ok", 1.0)
    observe(before, Observation(False, "refused"), Thresholds(1, 1), 2.0)
    assert before == ActiveHealth(Health.UP, 0, "ok", 1.0)


def test_the_defaults_are_those_of_the_configuration() -> None:
    configured = HealthCheckConfig()
    assert Thresholds() == Thresholds(configured.rise, configured.fall)
