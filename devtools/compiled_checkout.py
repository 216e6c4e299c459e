"""A checkout whose package is the installed one, for tests of a compiled wheel: `make test-compiled`.

    python -m devtools.compiled_checkout FOLDER

Tests run in their checkout, where the package of the source tree would hide the installed one. So all but the package
is copied, and a link leads to the installed package.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import sysconfig
from pathlib import Path

from devtools.environment import ROOT

#: What the tools write, anywhere and in the root, where the package of the source tree is too.
WRITTEN = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*_cache")
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", ".hypothesis", "build", "dist", "lbflask")


def ignored(folder: str, names: list[str]) -> set[str]:
    """Those of the names in the folder that are not copied."""
    return WRITTEN(folder, names) | (LEFT_OUT(folder, names) if Path(folder) == ROOT else set())


def installed() -> Path:
    """The folder of the installed package. Exits if an editable installation or a build as Python is installed."""
    place = sysconfig.get_path("platlib")  # the metadata of the source tree, beside it, are those of another build
    libraries = [
        file
        for found in importlib.metadata.distributions(name="lbflask", path=[place])
        for file in found.files or ()
        if file.suffix == ".so"
    ]
    if not libraries:
        raise SystemExit("no compiled wheel of lbflask is installed here")
    return Path(place).resolve() / "lbflask"


def main(folder: Path) -> None:
    """Make the checkout anew."""
    package = installed()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT, folder, ignore=ignored)
    (folder / "lbflask").symlink_to(package)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
