"""However a run of the tests ends, nothing that it started is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.leftovers import MARK, leftovers
from tests.support.wait import PATIENCE, eventually

ROOT = Path(__file__).resolve().parents[1]

#: A test that starts a process in a session of its own, notes who runs the test, and then does something.
TEST = """
import os, pathlib, signal, subprocess, sys, time

def test_it():
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    note = pathlib.Path({note!r})
    note.with_suffix(".new").write_text(str(os.getpid()))
    note.with_suffix(".new").rename(note)
    {then}
"""

ENDS = {
    "passes": ("pass", ()),
    "fails": ("assert False", ()),
    "is interrupted": ("time.sleep(600)", ()),
    "is killed": ("os.kill(os.getpid(), signal.SIGKILL)", ()),
    "exits": ("os._exit(0)", ()),
    "is killed in a worker": ("os.kill(os.getpid(), signal.SIGKILL)", ("-n", "1", "--max-worker-restart=0")),
}


@pytest.fixture
def marked() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield process
        process.kill()


def test_what_this_run_has_started_is_found_in_whatever_session(marked: subprocess.Popen[bytes]) -> None:
    assert os.environ[MARK] == str(os.getpid())
    eventually(lambda: (marked.pid, "sleep 600 ") in [(one.pid, one.command) for one in leftovers(os.getpid())], "it")
    marked.kill()
    marked.wait()
    assert marked.pid not in [one.pid for one in leftovers(os.getpid())]


@pytest.mark.parametrize("end", ENDS)
def test_nothing_outlives_a_run_that(end: str, tmp_path: Path) -> None:
    then, options = ENDS[end]
    note = tmp_path / "runner"
    (tmp_path / "test_it.py").write_text(TEST.format(note=str(note), then=then))
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "-p", "tests.conftest", "-p", "no:cacheprovider"]
    with subprocess.Popen(
        [*command, *options, f"--rootdir={tmp_path}", str(tmp_path)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    ) as run:  # fmt: skip
        eventually(note.exists, "the test runs")
        runner = int(note.read_text())
        if end == "is interrupted":
            os.killpg(run.pid, signal.SIGINT)
        output, _ = run.communicate(timeout=PATIENCE)
    eventually(lambda: not leftovers(runner), "nothing is left")
    if end in ("passes", "fails", "is interrupted"):
        assert run.returncode not in (0, None)
        assert "left running" in output
        assert "sleep 600" in output
