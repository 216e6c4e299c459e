from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devtools.builds import STAMP, compiled_python, outdated, python_commands
from lbflask.build import build


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout, and an environment in it whose wheel is later than all sources."""
    (tmp_path / "lbflask" / "core").mkdir(parents=True)
    for name, age in (("lbflask/core/faults.py", 20), ("setup.py", 20), (STAMP.name, 10)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1_000_000 - age, 1_000_000 - age))
    return tmp_path


def test_a_wheel_that_is_later_than_its_sources_can_be_measured(checkout: Path) -> None:
    assert outdated(checkout, checkout) == ""


@pytest.mark.parametrize("name", ["lbflask/core/faults.py", "setup.py"])
def test_a_wheel_of_earlier_sources_is_not_measured(checkout: Path, name: str) -> None:
    (checkout / name).touch()
    assert outdated(checkout, checkout) == f"{name} is newer"


def test_bytecode_makes_no_wheel_outdated(checkout: Path) -> None:
    (checkout / "lbflask" / "core" / "faults.cpython-311.pyc").touch()
    assert outdated(checkout, checkout) == ""


def test_without_a_wheel_there_is_nothing_to_measure(tmp_path: Path) -> None:
    assert outdated(tmp_path, tmp_path) == "it is not installed"


def test_the_first_build_is_that_of_this_process() -> None:
    assert next(iter(python_commands().items())) == (build(), [sys.executable])


def test_the_installed_package_is_not_hidden_by_that_of_the_checkout(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path], check=True)
    (place,) = tmp_path.glob("lib/python*/site-packages")
    (place / "lbflask.py").write_text("print('installed')")
    command = [*compiled_python(tmp_path), "-c", "import lbflask, benchmarks"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "installed\n"
