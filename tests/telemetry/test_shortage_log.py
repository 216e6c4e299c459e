"""How often a shortage is logged: at once, and then seldom, with how often meanwhile."""

from __future__ import annotations

import logging

import pytest

from lbflask.core.faults import Resource, Shortage, Stage
from lbflask.telemetry.shortage_log import INTERVAL, ShortageLog


def lacking(resource: Resource) -> Shortage:
    return Shortage(Stage.CONNECT, resource, f"this process is short of {resource}: none left")


def test_there_is_one_line_for_each_resource_and_while(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = ShortageLog(logging.getLogger("tests"), "a request failed", lambda: now)
    for _ in range(100):
        log.note(lacking(Resource.DESCRIPTORS))
    log.note(lacking(Resource.PORTS))
    now = INTERVAL
    log.note(lacking(Resource.DESCRIPTORS))
    now = 3 * INTERVAL
    log.note(lacking(Resource.DESCRIPTORS))
    assert caplog.messages == [
        "this process is short of descriptors: none left: a request failed",
        "this process is short of ports: none left: a request failed",
        "this process is short of descriptors: none left: a request failed (99 more since the last such line)",
        "this process is short of descriptors: none left: a request failed",
    ]
