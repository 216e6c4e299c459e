from __future__ import annotations

from pathlib import Path

import pytest

from devtools.examination import Examined, FailsUnchanged, Subject, Verdict
from devtools.mutation import examined_apart

MODULE = """
from shared_part import LIMIT

def allowed(count):
    return count < LIMIT

def halved(count):
    steps = 0
    while count > 1:
        count //= 2
        steps += 1
    return steps
"""
TESTS = """
from sample_part import allowed, halved

def test_allowed():
    assert allowed(1)
    assert not allowed(11)

def test_halved():
    assert halved(8) == 3
"""


def examined(folder: Path, tests: str | None = TESTS) -> list[Examined]:
    """The verdicts on the mutants of a sample, in a process of its own."""
    (folder / "sample_part.py").write_text(MODULE, "utf-8")
    (folder / "shared_part.py").write_text("LIMIT = 10", "utf-8")
    if tests is not None:
        (folder / "test_sample_part.py").write_text(tests, "utf-8")
    return examined_apart(Subject(folder, Path("sample_part.py"), Path("test_sample_part.py")))


@pytest.mark.thorough
def test_tests_find_a_fault_or_it_survives(tmp_path: Path) -> None:
    verdicts = {one.change: one.verdict for one in examined(tmp_path)}
    survivors = {change for change, verdict in verdicts.items() if verdict == Verdict.SURVIVED}
    assert survivors == {"return count < LIMIT -> return count <= LIMIT"}  # no test has a count of 10
    assert verdicts["return count < LIMIT -> return None"] == Verdict.KILLED
    assert verdicts["steps += 1 -> pass"] == Verdict.KILLED
    assert verdicts["count //= 2 -> pass"] == Verdict.TIMED_OUT


def test_without_a_test_file_each_mutant_survives(tmp_path: Path) -> None:
    verdicts = [one.verdict for one in examined(tmp_path, tests=None)]
    assert verdicts
    assert set(verdicts) == {Verdict.SURVIVED}


def test_tests_that_fail_without_a_mutant_are_named(tmp_path: Path) -> None:
    with pytest.raises(FailsUnchanged, match=r"test_sample_part\.py fails without a mutant"):
        examined(tmp_path, tests="def test_fails(): assert False")
