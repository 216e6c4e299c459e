from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lbflask.core.reserves import Use
from lbflask.wiring.free_space import measured


def test_a_file_system_is_measured_once_by_its_first_use(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.touch()
    (found,) = measured([(Use.LOG, log), (Use.SHARED, tmp_path)])
    usage = shutil.disk_usage(tmp_path)
    assert (found.use, found.path, found.size) == (Use.LOG, str(log), usage.total)
    assert 0 <= found.free <= usage.total


def test_what_is_no_file_has_no_room(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert list(measured([(Use.LOG, pipe), (Use.LOG, Path("/dev/null")), (Use.LOG, tmp_path / "missing")])) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a file system without a size is Linux's")
def test_a_file_system_without_a_size_is_left_out() -> None:
    assert list(measured([(Use.SHARED, Path("/proc/self"))])) == []
