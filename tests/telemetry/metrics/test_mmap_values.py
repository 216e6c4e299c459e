"""Numbers in files that outlive their process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbflask.telemetry.metrics import mmap_values
from lbflask.telemetry.metrics.mmap_values import MmapValues
from lbflask.telemetry.metrics.shared_directory import VARIABLE, SharedDirectory
from tests.support.changes import property_test

WRITER = """
import sys, pathlib
from lbflask.telemetry.metrics.mmap_values import MmapValues
written = MmapValues(pathlib.Path(sys.argv[1]))
row = written.row(("requests", "x"), 1)
written.values[row] = 42
print("ready", flush=True)
sys.stdin.read()
"""


def test_what_is_written_can_be_read_while_the_file_is_open(tmp_path: Path) -> None:
    written = MmapValues(tmp_path / "a.cells")
    row = written.row(("a", "b", "ü"), 3)
    assert dict(mmap_values.read(tmp_path / "a.cells")) == {("a", "b", "ü"): (0, 0, 0)}
    written.values[row : row + 3] = array("d", [1, 2.5, 3])
    assert dict(mmap_values.read(tmp_path / "a.cells")) == {("a", "b", "ü"): (1, 2.5, 3)}
    assert written.row(("a", "b", "ü"), 3) == written.find(("a", "b", "ü")) == row
    assert written.find(("x",)) is None
    written.close()
    assert dict(mmap_values.read(tmp_path / "a.cells")) == {("a", "b", "ü"): (1, 2.5, 3)}


@settings(max_examples=30)
@given(names=st.sets(st.tuples(st.text(st.characters(exclude_characters="\0\x1f", codec="utf-8"), min_size=1))))
def test_every_name_and_number_comes_back(tmp_path_factory: pytest.TempPathFactory, names: set[tuple[str]]) -> None:
    path = tmp_path_factory.mktemp("cells") / "a.cells"
    written = MmapValues(path)
    for number, name in enumerate(names):
        row = written.row(name, 2)
        written.values[row : row + 2] = array("d", [number, -number])
    assert dict(mmap_values.read(path)) == {name: (number, -number) for number, name in enumerate(names)}
    written.close()


def test_a_file_grows_with_what_is_in_it(tmp_path: Path) -> None:
    written = MmapValues(tmp_path / "a.cells")
    rows = [written.row((f"row {number}",), 17) for number in range(2000)]
    for number, row in enumerate(rows):
        written.values[row : row + 17] = array("d", [number] * 17)
    found = dict(mmap_values.read(tmp_path / "a.cells"))
    assert len(found) == len(written) == 2000
    assert all(found[(f"row {number}",)] == (number,) * 17 for number in range(2000))
    written.close()


def test_a_process_that_is_killed_leaves_its_numbers_and_is_known_to_be_dead(tmp_path: Path) -> None:
    path = tmp_path / "a.cells"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        assert not mmap_values.is_dead(path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert mmap_values.is_dead(path)
    assert dict(mmap_values.read(path)) == {("requests", "x"): (42,)}


def test_a_lock_has_one_holder_and_is_never_waited_for(tmp_path: Path) -> None:
    with mmap_values.locked(tmp_path / "lock") as mine, mmap_values.locked(tmp_path / "lock") as another:
        assert (mine, another) == (True, False)
    with mmap_values.locked(tmp_path / "lock") as again:
        assert again


def test_a_directory_that_a_killed_master_left_is_removed_by_the_next(tmp_path: Path) -> None:
    first = SharedDirectory(0, 0, tmp_path)
    second = SharedDirectory(0, 0, tmp_path)
    assert first.path.exists()
    os.close(first._lock)  # as the kernel does for the dead
    third = SharedDirectory(0, 0, tmp_path)
    assert [path.exists() for path in (first.path, second.path, third.path)] == [False, True, True]
    second.remove()
    third.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_master_of_an_upgrade_takes_part_in_the_directory_and_the_last_one_removes_it(tmp_path: Path) -> None:
    first = SharedDirectory(0, 0, tmp_path)
    code = (
        "import sys; from pathlib import Path; "
        "from lbflask.telemetry.metrics.shared_directory import SharedDirectory; "
        "found = SharedDirectory(0, 0, Path(sys.argv[1])); print(found.path, flush=True); "
        "sys.stdin.readline(); found.remove(); print(found.path.exists(), flush=True)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[first._lock]
    ) as upgraded:
        assert upgraded.stdin is not None
        assert upgraded.stdout is not None
        assert upgraded.stdout.readline().strip() == str(first.path)
        first.remove()
        assert first.path.exists(), "the new master uses it"
        upgraded.stdin.write("end\n")
        upgraded.stdin.flush()
        assert upgraded.stdout.readline().strip() == "False"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_there_no_more_is_not_taken_for_an_inherited_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ("1", "1,2", "1,999999,/nowhere", f"1,0,{tmp_path}", "1,x,y"):
        monkeypatch.setenv(VARIABLE, value)
        made = SharedDirectory(0, 0, tmp_path)
        assert made.path.parent == tmp_path
        made.remove()


test_any_file_has_rows_or_is_rejected = property_test("metrics_file")
