"""What the commands that look print: whole lines for programs, whole names for people."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from lbflask.cli import main
from lbflask.core.answers import AnswerKey, Answers
from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.fleet_stats import WorkerIdentity, WorkerReport
from lbflask.core.model import ActiveHealth, Health
from lbflask.store.ports import Beat, HealthWrite
from tests.cli.servers import on_terminal, piped, served
from tests.control.servers import Counter

SHORT = ("10.0.0.1:8000", "10.0.0.2:8000")
LONG = ("payments-backend-in-the-second-rack-of-the-northern-data-centre", "b" * 64)
REASON = "its certificate is not accepted: " + "a chain of many authorities, none of which is known; " * 4
HOST = "balancer-7f9c5d8b6f-x2x4z.eu-west.compute.example"


def fleet(names: tuple[str, ...], reason: str) -> Counter:
    counter = Counter(backends=[{"url": f"http://10.0.0.{n}:80", "name": name} for n, name in enumerate(names, 1)])
    lease = counter.facts.hold_lease("default", "checker:1:a", 600)
    assert lease is not None
    states = {names[0]: ActiveHealth(Health.UP, 0, "connected", 1.5), names[1]: ActiveHealth(Health.DOWN, 0, reason, 2)}
    assert counter.facts.write_active("default", HealthWrite(lease.epoch, states, interval=1.0, announce=True))
    who = WorkerIdentity(f"{HOST}/0.0.0.0:8080", HOST, 1, "1.0", "0123456789ab")
    got = Answers(10.0, {AnswerKey("2xx", "backend"): 970, AnswerKey("429", "rate_limit", "r" * 64): 30})
    report = WorkerReport(who, counter.clock(), 10.0, {}, answers=got)
    counter.facts.beat("default", f"{HOST}:1:a", Beat(report=report), read=False)
    counter.facts.record([FleetEvent(Kind.HEALTH, "down", "default", names[1], reason, "checker")])
    return counter


@pytest.fixture(scope="module")
def long_names() -> Iterator[str]:
    with served(fleet(LONG, REASON)) as url:
        yield url


@pytest.fixture(scope="module")
def short_names() -> Iterator[str]:
    with served(fleet(SHORT, "connection refused")) as url:
        yield url


LOOKING = [("backends",), ("status",), ("top", "--count", "2", "--interval", "0.2"), ("events",), ("doctor",)]


@pytest.mark.parametrize("columns", ["", "20", "80"])
@pytest.mark.parametrize("command", LOOKING, ids=lambda command: command[0])
def test_what_is_no_terminal_gets_whole_lines_without_colours(
    long_names: str, command: tuple[str, ...], columns: str
) -> None:
    environ = {"LBFLASK_ADMIN_URL": long_names, "COLUMNS": columns, "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}
    told = CliRunner().invoke(main, command, env=environ).output
    assert "\x1b" not in told
    assert "…" not in told
    lines = told.splitlines()
    assert any(LONG[1] in line and REASON.strip() in line for line in lines)
    if command[0] in ("backends", "status", "top"):
        assert any(line.startswith(LONG[0]) and "connected" in line for line in lines)
    if command[0] in ("status", "top"):
        assert any(line.startswith(f"{HOST}/0.0.0.0:8080") and "0123456789ab" in line for line in lines)
        assert any(line.startswith("fleet ") and " 100.0 answers/s, " in line for line in lines)
        assert "clients got 97.0 2xx, 3.0 4xx per second, 3.0 % errors" in lines
        assert any(line.split() == ["rate", "limit", "429", "r" * 64, "3.0", "3.0", "%"] for line in lines)
    if command[0] == "top":
        assert sum(line.startswith("fleet ") for line in lines) == 2, "each look is printed"


def test_a_real_pipe_is_no_terminal(long_names: str) -> None:
    code, told = piped("backends", LBFLASK_ADMIN_URL=long_names, COLUMNS="30", FORCE_COLOR="1")
    assert code == 0
    assert any(line.startswith(LONG[1]) and REASON.strip() in line for line in told.splitlines())
    assert "\x1b" not in told


@pytest.mark.parametrize("columns", [80])
@pytest.mark.parametrize("command", LOOKING, ids=lambda command: command[0])
@pytest.mark.sampled(2)
def test_names_stay_whole_on_a_terminal(
    short_names: str, long_names: str, command: tuple[str, ...], columns: int
) -> None:
    for url, names, reason in ((short_names, SHORT, "connection refused"), (long_names, LONG, REASON)):
        told = on_terminal(*command, columns=columns, LBFLASK_ADMIN_URL=url)
        seen = names if command[0] in ("backends", "status", "top") else names[1:]
        for name in seen:
            assert any(name in line for line in told.splitlines()), told
        assert "".join(reason.split()) in "".join(told.split()), told
        assert command[0] == "events" or all(len(line) <= columns for line in told.splitlines()), told


@pytest.mark.parametrize("columns", [30, 50])
def test_nothing_is_cut_even_on_a_telephone(long_names: str, columns: int) -> None:
    told = "".join(on_terminal("status", columns=columns, LBFLASK_ADMIN_URL=long_names).split())
    for part in (*LONG, HOST, "0123456789ab", REASON):
        assert "".join(part.split()) in told


def test_a_terminal_gets_a_table_where_it_fits(short_names: str) -> None:
    told = on_terminal("backends", columns=120, LBFLASK_ADMIN_URL=short_names)
    row = next(line for line in told.splitlines() if line.startswith(SHORT[1]))
    assert "down" in row
    assert "connection refused" in row


#: Markup of rich, names of emoji, HTML, and a backslash at the end.
MARKED = "[red]it[/red] [/bold] :100: 10.0.0.1:1234:x <b>&amp; C:\\"


@pytest.mark.parametrize("command", LOOKING, ids=lambda command: command[0])
def test_the_reason_of_a_failure_is_shown_to_the_letter(command: tuple[str, ...]) -> None:
    with served(fleet(SHORT, MARKED)) as url:
        told = CliRunner().invoke(main, command, env={"LBFLASK_ADMIN_URL": url})
        assert MARKED in told.output
        assert "\\\\" not in told.output
        assert told.exception is None or isinstance(told.exception, SystemExit)
