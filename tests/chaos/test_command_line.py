"""The options that all programs share that break things."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.__main__ import SCENARIOS
from chaos.command_line import choice, chosen, parser_for
from chaos.gameday.__main__ import INCIDENTS
from chaos.soak.injections import INJECTIONS


@pytest.mark.parametrize("available", [SCENARIOS, INJECTIONS], ids=["chaos", "soak"])
def test_parts_are_chosen_by_a_part_of_their_name(available: dict[str, Any]) -> None:
    assert list(chosen(available, ["leader"], "part")) == ["leader killed", "leader frozen"]
    assert chosen(available, [], "part") == available


def test_a_name_that_none_has_ends_the_program_with_those_that_there_are() -> None:
    given = parser_for("Breaks things.", "x", "incident").parse_args(["--only", "nothing"])
    with pytest.raises(SystemExit, match="there is no such incident; there are: backend killed, "):
        choice(given, {one.name: one for one in INCIDENTS}, "incident")


def test_the_names_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    given = parser_for("Breaks things.", "x", "part").parse_args(["--list"])
    with pytest.raises(SystemExit) as ended:
        choice(given, {"one": 1, "two": 2}, "part")
    assert ended.value.code == 0
    assert capsys.readouterr().out == "one\ntwo\n"
