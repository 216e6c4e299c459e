from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from devtools import coverage
from devtools.coverage import Share, by_module, by_package, summary

MODULES = {
    PurePath("lbflask/fleet/a.py"): Share(9, 10),
    PurePath("lbflask/fleet/inner/b.py"): Share(9, 10),
    PurePath("lbflask/store/c.py"): Share(1, 2),
    PurePath("lbflask/wsgi.py"): Share(3, 3),
    PurePath("lbflask/store/empty.py"): Share(),
}
#: A test that starts a process, whose child in turn is forked and ends by a signal's handler.
STARTS_A_PROCESS = """
import subprocess, sys
CHILD = '''
import os, signal, sys, time
from lbflask.cli.duration import Duration
if not (child := os.fork()):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(Duration(60).convert("5s", None, None), flush=True)
    signal.pause()
os.kill(child, signal.SIGTERM) if sys.stdin.readline() else None
os.waitpid(child, 0)
'''
def test_a_child() -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "5\\n"
    child.communicate("go on\\n")
    assert child.returncode == 0
"""


def test_a_package_has_the_lines_and_branches_of_its_modules() -> None:
    assert by_package(MODULES) == {"lbflask": Share(3, 3), "lbflask/fleet": Share(18, 20), "lbflask/store": Share(1, 2)}
    assert [round(share.percent) for share in by_package(MODULES).values()] == [100, 90, 50]
    assert Share().percent == 100


def test_what_is_below_the_bar_is_named() -> None:
    text, percent = summary(MODULES)
    lines = text.splitlines()
    assert [line.split()[0] for line in lines if "below" in line] == ["lbflask/store", "outside"]
    assert [line.split()[0] for line in lines if "missing" in line] == [
        "lbflask/fleet/a.py",
        "lbflask/fleet/inner/b.py",
        "lbflask/store/c.py",
    ]
    assert percent == pytest.approx(100 * 22 / 25)


def test_lines_and_branches_count_alike() -> None:
    figures = {"covered_lines": 3, "covered_branches": 1, "num_statements": 4, "num_branches": 2}
    assert by_module({"files": {"lbflask/a.py": {"summary": figures}}}) == {PurePath("lbflask/a.py"): Share(4, 6)}


@pytest.mark.thorough
def test_processes_that_a_test_starts_are_measured_with_their_children(tmp_path: Path) -> None:
    test = tmp_path / "test_child.py"
    test.write_text(STARTS_A_PROCESS)
    folder = tmp_path / "measured"
    folder.mkdir()
    pytest_options = ["-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", "-c", "/dev/null", str(test)]
    assert coverage.run(folder, ["-m", "pytest", *pytest_options]) == 0
    found = coverage.shares(folder)
    duration = found[PurePath("lbflask/cli/duration.py")]
    assert duration.of > duration.ran > duration.of / 2
    assert found[PurePath("lbflask/proxy/dispatcher.py")].ran == 0
    assert not [path for path in found if path.parts[:2] == ("lbflask", "core")]
