"""Tracing of requests: the switch that all workers of an instance follow, and the lines."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from lbflask.telemetry import debug
from lbflask.telemetry.debug import DebugSwitch, NoSharedDirectory, trace


@pytest.fixture
def workers(tmp_path: Path) -> tuple[DebugSwitch, DebugSwitch]:
    """The switches of two workers of one instance."""
    one, other = DebugSwitch(), DebugSwitch()
    for switch in (one, other):
        switch.start(tmp_path)
    return one, other


def test_one_worker_switches_all_of_its_instance(workers: tuple[DebugSwitch, DebugSwitch], tmp_path: Path) -> None:
    one, other = workers
    stranger = DebugSwitch()
    (tmp_path / "another").mkdir()
    stranger.start(tmp_path / "another")
    one.switch(60)
    for switch in (other, stranger):
        switch.consume(())
    assert (one.enabled, other.enabled, stranger.enabled) == (True, True, False)
    assert 50 < other.remaining() <= 60
    other.switch(0)
    one.consume(())
    assert (one.enabled, other.enabled, one.remaining()) == (False, False, 0.0)


def test_tracing_ends_by_itself(workers: tuple[DebugSwitch, DebugSwitch], monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = workers
    now = debug.time.monotonic()
    one.switch(60)
    other.consume(())
    monkeypatch.setattr(debug.time, "monotonic", lambda: now + 61)
    for switch in workers:
        switch.consume(())
    assert (one.enabled, other.enabled, other.remaining()) == (False, False, 0.0)


def test_a_worker_that_begins_later_follows_too(workers: tuple[DebugSwitch, DebugSwitch], tmp_path: Path) -> None:
    workers[0].switch(60)
    later = DebugSwitch()
    later.start(tmp_path)
    later.consume(())
    assert later.enabled


def test_the_variable_holds_until_an_operator_switches(tmp_path: Path) -> None:
    switch = DebugSwitch(enabled=True)
    switch.start(tmp_path)
    switch.consume(())
    assert switch.enabled
    switch.switch(0)
    assert not switch.enabled


@pytest.mark.parametrize("content", ["", "soon", "\0"])
def test_a_file_that_is_no_number_means_off(tmp_path: Path, content: str) -> None:
    switch = DebugSwitch(enabled=True)
    switch.start(tmp_path)
    (tmp_path / "debug").write_text(content)
    switch.consume(())
    assert not switch.enabled


def test_without_a_shared_directory_it_is_refused() -> None:
    switch = DebugSwitch()
    switch.start(None)
    switch.consume(())
    with pytest.raises(NoSharedDirectory, match="LBFLASK_DEBUG=1"):
        switch.switch(60)


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"pool": "default", "reused": True}, "pool=default reused=True"),
        ({"backends": ("a:1", "b:2"), "seconds": 0.25}, "backends=a:1,b:2 seconds=0.250000"),
        ({"target": "/a?token=5ecret&x=1"}, "target=/a?token=***&x=1"),
        ({"method": 'A "b"\nid=2'}, r'method="A \"b\"\nid=2"'),
        ({"reason": "", "client": "é"}, r'reason="" client="\u00e9"'),
    ],
)
def test_a_line_names_the_request_the_step_and_the_facts(
    facts: dict[str, object], line: str, caplog: pytest.LogCaptureFixture
) -> None:
    trace("abc-1", "routed", **facts)
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.DEBUG, f"id=abc-1 step=routed {line}")
