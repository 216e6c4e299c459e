"""What an operator executes of the advice, with a fleet that only takes notes and a real shell."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from chaos.gameday.fleet import GameFleet
from chaos.gameday.operator import Operator
from chaos.gameday.surfaces import Seen


class NotedFleet:
    """Takes note of what is started and written."""

    running_instances = (0, 1)

    def __init__(self, work: Path) -> None:
        self.work = work
        self.said: list[str] = []
        self.started: list[str] = []
        self.settings: dict[str, Any] = {"rate_limits": {"narrow": {"rate": 1, "key": "none"}}}
        programs = work / "bin"
        programs.mkdir()
        (programs / "lbflask").write_text('#!/bin/sh\necho "$INSTANCE: $*" >> "$NOTES"\n')
        (programs / "lbflask").chmod(0o755)

    def shell_environment(self, instance: int) -> dict[str, str]:
        path = f"{self.work / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {"PATH": path, "NOTES": str(self.work / "notes"), "INSTANCE": str(instance)}

    def write(self, change: Callable[[dict[str, Any]], None]) -> None:
        change(self.settings)

    def start_by(self, command: str) -> None:
        self.started.append(command)

    @property
    def notes(self) -> list[str]:
        file = self.work / "notes"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def fleet(tmp_path: Path) -> NotedFleet:
    return NotedFleet(tmp_path)


def operator(fleet: NotedFleet, executes: str = ".", patience: float = -1.0) -> Operator:
    return Operator(cast(GameFleet, fleet), executes, 1, patience)


def seen(advice: str, check: str = "backend w1", finding: str = "it hangs for 7 s") -> Seen:
    return Seen("bad", check, finding, advice)


def test_clients_are_spared_first_and_what_was_taken_out_returns_at_the_end(fleet: NotedFleet) -> None:
    someone = operator(fleet)
    hangs = seen("`lbflask off w1` spares clients; restart it")
    someone.relieve(hangs)
    assert fleet.notes == ["1: off w1"]
    someone.remedy(hangs)
    someone.follow([hangs, seen("`lbflask enable w1` after maintenance", finding="off by bob for 1 s")] * 3)
    assert fleet.notes == ["1: off w1", "1: enable w1"]
    assert someone.executed == ["lbflask off w1", "lbflask enable w1"]


def test_another_subject_is_only_restored(fleet: NotedFleet) -> None:
    someone = operator(fleet)
    someone.relieve(seen("look at its log"))
    someone.follow([seen("`lbflask reload`", check="configuration"), seen("`lbflask uneject w2`", check="backend w2")])
    assert fleet.notes == ["1: uneject w2"]


def test_a_configuration_is_written_and_reloaded_at_each_instance(fleet: NotedFleet) -> None:
    someone = operator(fleet)
    someone.remedy(seen("`rate_limits.narrow.rate = 80` in the configuration and `lbflask reload`"))
    assert fleet.settings == {"rate_limits": {"narrow": {"rate": 80, "key": "none"}}}
    assert fleet.notes == ["0: reload", "1: reload"]
    assert someone.executed == ["rate_limits.narrow.rate = 80", "lbflask reload"]


def test_what_goes_on_running_is_started_by_the_fleet(fleet: NotedFleet) -> None:
    operator(fleet).remedy(seen("start `python -m lbflask.healthcheck` on another machine"))
    assert fleet.started == ["python -m lbflask.healthcheck"]


def test_commands_that_do_not_fit_are_left_out(fleet: NotedFleet) -> None:
    someone = operator(fleet, executes="$^")
    someone.remedy(seen("start it, or correct the port and `lbflask reload`"))
    assert (fleet.notes, someone.executed) == ([], [])


def test_a_command_has_a_while_to_work_before_another_finding_is_followed(fleet: NotedFleet) -> None:
    someone = operator(fleet, patience=600.0)
    someone.remedy(seen("correct it, then `lbflask reload`"))
    someone.follow([seen("`lbflask enable w1`", finding="off by bob")])
    assert someone.executed == ["lbflask reload"]
