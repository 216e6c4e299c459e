"""The builds of the package that a measurement can run: that of the checkout, and that of `make compiled`."""

from __future__ import annotations

import sys
from pathlib import Path

from devtools.environment import ROOT
from lbflask.build import Build, build

#: Where `make compiled` installs the wheel, and the file that it writes afterwards.
ENVIRONMENT = ROOT / ".venv-compiled"
STAMP = ENVIRONMENT / ".wheel"
#: What the wheel is made of.
SOURCES = ("lbflask/**/*.*", "setup.py", "pyproject.toml")


def python_commands() -> dict[Build, list[str]]:
    """What begins a command that runs Python with the package, for each build that is here; that of this process first.

    Paths in such a command must be absolute, since the compiled build runs in another directory. The process that is
    started is Python itself, so signals reach it. A line on standard error names
    a compiled build that is missing, or older than the source.
    """
    commands = {build(): [sys.executable]}
    if build() is Build.PYTHON:
        if lacks := outdated(ENVIRONMENT, ROOT):
            print(f"the compiled build is left out: {lacks} (make compiled)", file=sys.stderr)
        else:
            commands[Build.COMPILED] = compiled_python(ENVIRONMENT)
    return commands


def outdated(environment: Path, checkout: Path) -> str:
    """Why the wheel in this environment is not that of the checkout; empty if it is."""
    stamp = environment / STAMP.name
    if not stamp.exists():
        return "it is not installed"
    installed = stamp.stat().st_mtime
    sources = (path for pattern in SOURCES for path in checkout.glob(pattern) if path.suffix != ".pyc")
    newer = [path for path in sources if path.is_file() and path.stat().st_mtime > installed]
    return f"{newer[0].relative_to(checkout)} is newer" if newer else ""


def compiled_python(environment: Path) -> list[str]:
    """Python of this environment. The package in ROOT does not hide the installed one; `benchmarks` is that in ROOT."""
    (place,) = environment.glob("lib/python*/site-packages")
    return ["env", f"--chdir={place}", f"PYTHONPATH={ROOT}", str(environment / "bin" / "python")]
