"""The recipe of a hook, docs/how-to/hook.md, does what it promises: its code as it is there, and its tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devtools.environment import ROOT
from tests.docs.blocks import blocks_of

PAGE = "docs/how-to/hook.md"
BLOCKS = {
    language: [block.text for block in blocks_of((ROOT / PAGE).read_text("utf-8"), PAGE) if block.language == language]
    for language in ("python", "toml")
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A directory with the files of the page."""
    code, test = BLOCKS["python"]
    (configuration,) = BLOCKS["toml"]
    (tmp_path / "shop_hooks.py").write_text(code, "utf-8")
    (tmp_path / "test_shop_hooks.py").write_text(test, "utf-8")
    (tmp_path / "lbflask.toml").write_text(configuration, "utf-8")
    return tmp_path


def run(directory: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("LBFLASK_", "SHOP_", "PYTEST_"))
    }
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=directory,
        env={**environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_its_tests_pass(recipe: Path) -> None:
    done = run(recipe, "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(recipe), "test_shop_hooks.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_it_does_not_start_without_its_key_and_says_so_in_one_line(recipe: Path) -> None:
    """With an empty key, all requests without one would pass."""
    done = run(recipe, "lbflask", "config", "check")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "shop_hooks:Hooks" in line
    assert "set SHOP_API_KEY" in line
    assert run(recipe, "lbflask", "config", "check", SHOP_API_KEY="k" * 32).returncode == 0
