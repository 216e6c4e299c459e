"""`docs/tutorial.md`, followed to the letter in an empty directory: each file, each command, each shown output."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from devtools.environment import ROOT
from devtools.ports import reserved
from devtools.servers import listens
from devtools.wait import eventually
from tests.docs.blocks import Block, blocks_of
from tests.support.transcript import Reader, Step, Terminal, is_shown, steps_of
from tests.support.wheel import installable

pytestmark = [pytest.mark.e2e, pytest.mark.early]
BLOCKS = list(blocks_of((ROOT / "docs" / "tutorial.md").read_text("utf-8"), "docs/tutorial.md"))
#: The ports of the page, below those of other tests (devtools/ports.py) and beside those of the demo.
PORTS = (7001, 7002, 7003, 7080, 7090, 7180, 7190, 7379)


def environ(folder: Path) -> dict[str, str]:
    """The environment of a reader with a `python3`, whose `pip` installs this checkout as `lbflask`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LBFLASK_", "PYTHON", "VIRTUAL"))}
    programs = folder / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(Path(getattr(sys, "_base_executable", sys.executable)).resolve())
    return {**kept, **installable(folder), "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin"}


@pytest.mark.timeout(900)  # installs the package, and takes the reader's steps
@pytest.mark.thorough
def test_the_tutorial_works_to_the_letter(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with reserved(*PORTS), Reader(work, environ(tmp_path)) as reader:
        eventually(lambda: not any(map(listens, PORTS)), f"nothing listens on the ports of the tutorial, {PORTS}")
        commands = sum(map(reader.follow, BLOCKS))
        eventually(lambda: not any(map(listens, PORTS)), "the end of the tutorial has ended all of it")
    assert commands > 30


@pytest.mark.parametrize(
    ("output", "shown", "same"),
    [
        ("a\nb\n", ["a", "b"], True),
        ("a\nb\n", ["a"], False),
        ("a\n", ["a", "b"], False),
        ("a 1.2 b\n", ["a … b"], True),
        ("a\n1\n2\nb\n", ["a", "…", "b"], True),
        ("a\nb\n", ["a", "…", "b"], True),
        ("a\n1\nc\n", ["a", "…", "b"], False),
        ("a.b\n", ["a?b"], False),
    ],
)
def test_output_is_compared_line_by_line(output: str, shown: list[str], same: bool) -> None:
    assert is_shown(output, shown) is same


def step(command: str, *shown: str, goes_on: bool = False) -> Step:
    return Step("page.md:1", 1, command, list(shown), goes_on=goes_on)


def test_a_wrong_output_and_a_failure_are_noticed(tmp_path: Path) -> None:
    with Terminal(tmp_path, os.environ) as terminal:
        terminal.run(step("echo one; echo two", "one", "…"))
        terminal.run(step("true"))
        with pytest.raises(AssertionError, match=r"page.md:1: \$ echo one\nshows, with exit code 0:\none"):
            terminal.run(step("echo one", "two"))
        with pytest.raises(AssertionError, match="exit code 3"):
            terminal.run(step("(exit 3)"))


def test_a_command_that_runs_on_ends_by_control_c(tmp_path: Path) -> None:
    with Terminal(tmp_path, os.environ) as terminal:
        terminal.run(step("echo begun; sleep 1000", "begun", "…", goes_on=True))
        terminal.run(step("^C"))
        terminal.run(step("echo $?", "130"))


def test_a_block_that_is_no_step_is_noticed() -> None:
    with pytest.raises(ValueError, match="name of a file"):
        list(steps_of(Block("page.md:1", "toml", "a = 1", "Write this:")))
    with pytest.raises(ValueError, match="without a command"):
        list(steps_of(Block("page.md:1", "console", "lbflask init", "Do this:")))
