"""The wheel of this checkout, for tests that install the package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from devtools.environment import ROOT
from devtools.locks import PYPROJECT, pins
from devtools.servers import require


def assert_installed(done: subprocess.CompletedProcess[str]) -> None:
    """Fail unless the command, which may run pip, succeeds. Without a package index, `require` decides."""
    output = done.stdout + done.stderr
    require(done.returncode == 0 or "after connection broken" not in output, "a package index")
    assert done.returncode == 0, output


def wheel_of_checkout(folder: Path) -> Path:
    """Build the wheel from a copy of the checkout in the folder; returns its path."""
    source = folder / "source"
    shutil.copytree(ROOT / "lbflask", source / "lbflask", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--wheel-dir"]
    environ = os.environ | {"LBFLASK_COMPILE": "0"}  # a compiled build takes minutes
    arguments = [*command, str(folder / "wheels"), str(source)]
    done = subprocess.run(arguments, env=environ, capture_output=True, text=True, check=False)
    assert_installed(done)
    (wheel,) = (folder / "wheels").glob("*.whl")
    return wheel


def installable(folder: Path) -> dict[str, str]:
    """Variables by which pip installs this checkout as `lbflask`, and everything else in the versions of the locks."""
    wheel, file = wheel_of_checkout(folder), folder / "constraints.txt"
    locked = [str(pin) for name in ("base", "embedded") for pin in pins(name)]
    file.write_text("\n".join([f"lbflask=={PYPROJECT['project']['version']}", *locked, ""]), "utf-8")
    links = f"{wheel.parent} {os.environ.get('PIP_FIND_LINKS', '')}".strip()
    return {"PIP_FIND_LINKS": links, "PIP_CONSTRAINT": str(file), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
