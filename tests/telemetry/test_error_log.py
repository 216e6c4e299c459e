"""The error log: its forms, and that it waits for nobody."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lbflask.telemetry import error_log
from lbflask.telemetry.error_log import JSONLines, MaskedLines, NonBlockingStreamHandler, formatter


def record(message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("lbflask", logging.WARNING, __file__, 1, message, args, None)


@contextmanager
def stderr() -> Iterator[int]:
    """The reading end of what is standard error for a while; no handler of an earlier test is used again."""
    error_log.shut_down()
    reading, writing = os.pipe()
    kept = os.dup(2)
    os.dup2(writing, 2)
    try:
        yield reading
    finally:
        os.dup2(kept, 2)
        for fd in (kept, writing, reading):
            os.close(fd)


def test_a_record_is_one_json_object_even_with_a_traceback() -> None:
    try:
        raise KeyError("x\ny")
    except KeyError:
        told = record('a "%s"', "b")
        told.exc_info = sys.exc_info()
    line = JSONLines().format(told)
    assert "\n" not in line
    document = json.loads(line)
    assert document["traceback"].startswith("Traceback")
    del document["traceback"], document["time"]
    assert document == {"level": "warning", "logger": "lbflask", "pid": os.getpid(), "message": 'a "b"'}


def test_an_unread_standard_error_delays_no_request_and_is_written_when_it_is_read() -> None:
    with stderr() as reading:
        handler = NonBlockingStreamHandler()
        for number in range(1000):
            handler.handle(record("line %d %s", number, "x" * 200))
        told = b""
        while told.count(b"\n") < 1000:
            told += os.read(reading, 1 << 16)
        handler.close()
    assert [line.rpartition(b" ")[0] for line in told.splitlines()] == [b"line %d" % number for number in range(1000)]


def test_a_worker_s_log_and_ours_become_patient_and_files_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    gunicorns, ours = logging.getLogger("gunicorn.error"), logging.getLogger("lbflask")
    kept = logging.NullHandler()
    monkeypatch.setattr(gunicorns, "handlers", [logging.StreamHandler(sys.stderr), kept])
    monkeypatch.setattr(ours, "handlers", [])
    monkeypatch.setattr(ours, "propagate", True)
    with stderr() as reading:
        error_log.configure("json")
        patient, other = gunicorns.handlers
        assert isinstance(patient, NonBlockingStreamHandler)
        assert other is kept
        ours.warning("hello")
        assert json.loads(os.read(reading, 1000))["message"] == "hello"
        error_log.configure("text", threads=False)
        ours.warning("again")
        assert os.read(reading, 1000).endswith(b"[WARNING] again\n")
        error_log.shut_down()
    assert gunicorns.handlers == [kept]


@pytest.mark.parametrize(("form", "kind"), [("json", JSONLines), ("text", MaskedLines)])
def test_the_setting_chooses_the_form(form: str, kind: type) -> None:
    assert type(formatter(form)) is kind


@pytest.mark.parametrize("form", [formatter("json"), formatter("text")])
def test_secrets_that_a_message_quotes_are_masked(form: logging.Formatter) -> None:
    try:
        raise ValueError("Cookie: a=5ecret")
    except ValueError:
        told = record("Error handling request GET /a?token=5ecret&x=1 b'Authorization: Basic 5ecret'")
        told.exc_info = sys.exc_info()
    line = form.format(told)
    assert "5ecret" not in line
    assert "/a?token=***&x=1 b'Authorization ***" in line
