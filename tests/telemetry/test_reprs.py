"""What a debugger shows of the objects of telemetry and hooks: what it is, its identity, its state, and no secret."""

from __future__ import annotations

from pathlib import Path

from lbflask.hooks.runner import BlockingHook, QueuedHook
from lbflask.telemetry.access_log import AccessLog
from lbflask.telemetry.debug import DebugSwitch
from lbflask.telemetry.event_queue import EventQueue
from lbflask.telemetry.metrics.mmap_values import MmapValues
from lbflask.telemetry.metrics.recorder import MetricsRecorder
from lbflask.telemetry.nonblocking_writer import NonBlockingWriter
from tests.telemetry.events import event


def test_writers_and_logs_show_their_path_and_what_waits() -> None:
    assert repr(NonBlockingWriter("/x")) == "<NonBlockingWriter /x fd=-1 pending=0 dropped=0>"
    log = AccessLog("/x")
    log.dropped(3)
    assert repr(log) == "<AccessLog <NonBlockingWriter /x fd=-1 pending=0 dropped=0> lost=3>"


def test_the_queue_shows_what_is_pending() -> None:
    queue = EventQueue([])
    queue(event())
    assert repr(queue) == "<EventQueue pending=1 dropped=0 sinks=0>"


def test_hooks_show_the_outcomes_of_their_calls() -> None:
    hook = BlockingHook("shop:auth", "request", print, 1.0)
    hook.failed("late", "took too long")
    assert repr(hook) == "<BlockingHook shop:auth request {'late': 1}>"
    assert repr(QueuedHook("shop:audit", "response", print)) == "<QueuedHook shop:audit response {}>"


def test_the_switch_shows_whether_it_is_on(tmp_path: Path) -> None:
    switch = DebugSwitch()
    switch.start(tmp_path)
    switch.switch(60)
    assert repr(switch) == f"<DebugSwitch on path={tmp_path / 'debug'}>"


def test_files_of_metrics_show_how_much_they_hold(tmp_path: Path) -> None:
    assert repr(MetricsRecorder()) == "<MetricsRecorder None series=0>"
    values = MmapValues(tmp_path / "a.cells")
    values.row(("a",), 1)
    assert repr(values) == f"<MmapValues {tmp_path / 'a.cells'} rows=1 bytes=40>"
    values.close()
