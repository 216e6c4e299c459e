"""The soak in short: all kinds of exchanges while a worker and a backend are killed."""

from __future__ import annotations

import pytest

from chaos.command_line import chosen
from chaos.soak.__main__ import Pace, soak
from chaos.soak.client import MIX
from chaos.soak.injections import INJECTIONS
from chaos.soak.summary import text

pytestmark = pytest.mark.e2e


@pytest.mark.thorough
def test_only_what_a_killed_process_had_fails_and_all_kinds_are_exchanged() -> None:
    found = soak(chosen(INJECTIONS, ["worker killed", "backend killed"], "injection"), Pace(1.0, 0.0, 1.0, 0.2))
    shown = text(found)
    assert found.unexplained == [], shown
    assert [injection.error for injection in found.injections] == ["", ""], shown
    assert found.tracebacks == 0
    assert {kind for _, kind in found.tally.succeeded} == set(MIX), shown
    assert {"master, plain", "workers, TLS", "checkers"} <= set(found.roles)
