from __future__ import annotations

import pytest

from lbflask.core.forgotten import SHOWN_FOR, ForgottenOverrides, commands
from lbflask.core.model import Backend, Mode, Override

DRAINED, HEAVY = Override(Mode.DRAINING), Override(weight=5)


def test_what_was_set_anew_is_missing_no_more() -> None:
    lost = ForgottenOverrides(100.0, {"b": DRAINED, "a": HEAVY})
    assert list(lost.missing({}, 100.0)) == ["a", "b"]
    assert lost.missing({"a": Override(weight=7)}, 100.0 + SHOWN_FOR) == {"b": DRAINED}


def test_nothing_is_missing_after_an_hour_or_if_it_was_as_configured() -> None:
    assert ForgottenOverrides(100.0, {"a": HEAVY}).missing({}, 101.0 + SHOWN_FOR) == {}
    assert ForgottenOverrides(100.0, {"a": Override(since=7.0)}).missing({}, 100.0) == {}


@pytest.mark.parametrize(
    ("override", "lines"),
    [
        (DRAINED, ["lbflask drain w1 --pool 'my pool'"]),
        (Override(Mode.OFF, weight=5), ["lbflask weight w1 5 --pool 'my pool'", "lbflask off w1 --pool 'my pool'"]),
        (Override(removed=True), ["lbflask remove w1 --pool 'my pool'"]),
        (
            Override(added=Backend("w1", "s1", 80, "http://s1:80", 3)),
            ["lbflask add http://s1:80 --name w1 --weight 3 --pool 'my pool'"],
        ),
        (
            Override(added=Backend("w1", "s1", 80, "http://s1:80", backup=True)),
            ["lbflask add http://s1:80 --name w1 --weight 1 --backup --pool 'my pool'"],
        ),
    ],
)
def test_commands_set_it_again(override: Override, lines: list[str]) -> None:
    assert list(commands("my pool", "w1", override)) == lines
