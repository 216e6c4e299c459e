"""What can be executed of an advice."""

from __future__ import annotations

import pytest

from chaos.gameday import advice
from lbflask.control.doctor import advice as of_doctor
from lbflask.control.doctor.findings import CommandFacts
from lbflask.core.failure_causes import FailureCause


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("it hangs: `curl -m 5 http://h` repeats it. `lbflask off w1` sends it nothing", ["lbflask off w1"]),
        ("`ps -o stat= -p 7` begins with T: `kill -CONT 7`", ["kill -CONT 7"]),
        ("add a backend (`lbflask add URL`), then `lbflask reload`", ["lbflask reload"]),
        ("`lbflask off NAME` spares clients; `lbflask backends` shows which; `lbflask config check`", []),
        (
            "`redis-cli -u redis://h config set maxmemory 6mb`",
            ["redis-cli -u redis://h config set maxmemory 6mb"],
        ),
        ("`redis-cli -u URL replicaof no one`; `redis-cli -u redis://h info memory`", []),
        ("start `python -m lbflask.healthcheck` with the same file", ["python -m lbflask.healthcheck"]),
        ("`prlimit --pid 7 --nofile=256:` at once", ["prlimit --pid 7 --nofile=256:"]),
        ("`kill -TERM` of the old one", []),
    ],
)
def test_commands_that_change_something_are_found_as_written(text: str, commands: list[str]) -> None:
    assert advice.commands(text) == commands


def test_lines_of_the_configuration_are_settings() -> None:
    lines = advice.lines('`rate_limits.a-b.rate = 80` and `lbflask reload`; `limit=narrow`, `x.y = "z"`')
    assert lines == ["rate_limits.a-b.rate = 80", 'x.y = "z"']
    assert advice.settings(lines) == {"rate_limits": {"a-b": {"rate": 80}}, "x": {"y": "z"}}


def test_settings_are_laid_over_others() -> None:
    usual = {"rate_limits": {"a": {"rate": 1, "key": "none"}}, "tickets": "leased"}
    more = {"rate_limits": {"a": {"rate": 8}}}
    assert advice.merged(usual, more) == {"rate_limits": {"a": {"rate": 8, "key": "none"}}, "tickets": "leased"}
    assert usual["rate_limits"] == {"a": {"rate": 1, "key": "none"}}


def test_a_command_spares_clients_or_restores_or_starts_something() -> None:
    assert advice.relieves("lbflask drain w1 --pool default")
    assert advice.restores("lbflask enable w1")
    assert advice.starts("lbflask serve")
    assert not any(kind("lbflask reload") for kind in (advice.relieves, advice.restores, advice.starts))


def test_what_doctor_says_of_a_full_store_or_a_replica_can_be_executed() -> None:
    facts = CommandFacts("redis-cli -u redis://s1:6379/0")
    for cause in (FailureCause.FULL, FailureCause.READ_ONLY):
        assert len(advice.commands(of_doctor.for_store(cause, facts))) == 1
