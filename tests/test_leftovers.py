"""However a run of the tests ends, nothing that it started is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devtools.wait import PATIENCE, eventually
from tests.support.busy import SPIN
from tests.support.leftovers import MARK, leftovers

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
    assert os.environ[MARK].split(",")[-1] == str(os.getpid())
    eventually(lambda: (marked.pid, "sleep 600 ") in [(one.pid, one.command) for one in leftovers(os.getpid())], "it")
    marked.kill()
    marked.wait()
    assert marked.pid not in [one.pid for one in leftovers(os.getpid())]


@contextmanager
def run_of(then: str, directory: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A run of pytest whose test does this, as soon as the test runs; and the process that runs the test."""
    note = directory / "runner"
    (directory / "test_it.py").write_text(TEST.format(note=str(note), then=then))
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "-p", "tests.conftest", "-p", "no:cacheprovider"]
    with subprocess.Popen(
        [*command, "--grace=0.5", *options, f"--rootdir={directory}", str(directory)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    ) as run:  # fmt: skip
        try:
            eventually(note.exists, "the test runs")
            yield run, int(note.read_text())
        finally:
            run.kill()


def assert_names_what_is_left(run: subprocess.Popen[str], output: str) -> None:
    assert run.returncode not in (0, None)
    assert "left running" in output
    assert "sleep 600" in output


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.sampled(3)
def test_nothing_outlives_a_run_that(end: str, tmp_path: Path) -> None:
    then, options = ENDS[end]
    with run_of(then, tmp_path, *options) as (run, runner):
        if end == "is interrupted":
            os.killpg(run.pid, signal.SIGINT)
        output, _ = run.communicate(timeout=PATIENCE)
    eventually(lambda: not leftovers(runner), "nothing is left")
    if end in ("passes", "fails", "is interrupted"):
        assert_names_what_is_left(run, output)


@pytest.mark.thorough
def test_what_the_process_that_distributes_tests_leaves_is_named_too(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "import subprocess\ndef pytest_sessionstart(session):\n    if not hasattr(session.config, 'workerinput'):\n"
        "        subprocess.Popen(['sleep', '6000'], start_new_session=True)\n"
    )
    with run_of("child.kill()", tmp_path, "-n", "1") as (run, _):
        output, _ = run.communicate(timeout=PATIENCE)
    assert_names_what_is_left(run, output)
    assert "1 passed" in output.splitlines()[-1]
    eventually(lambda: not leftovers(run.pid), "nothing is left")


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["in one process", "distributed"])
@pytest.mark.sampled(3)
@pytest.mark.parametrize("interrupted", [False, True], ids=["passes", "is interrupted"])
@pytest.mark.thorough
def test_load_lasts_for_as_long_as_the_run(interrupted: bool, workers: tuple[str, ...], tmp_path: Path) -> None:
    """It is there once, however many processes run the tests."""
    go_on = tmp_path / "go on"
    then = f"child.kill()\n    while not os.path.exists({str(go_on)!r}): time.sleep(0.01)"
    with run_of(then, tmp_path, "--busy=1", *workers) as (run, _):
        eventually(lambda: [SPIN in one.command for one in leftovers(run.pid)].count(True) == 1, "there is load")
        if interrupted:
            os.killpg(run.pid, signal.SIGINT)
        else:
            go_on.touch()
        output, _ = run.communicate(timeout=PATIENCE)
    assert (run.returncode, "left running" in output) == (2 if interrupted else 0, False), output
    assert leftovers(run.pid) == []
