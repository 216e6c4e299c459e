"""The distributions: what is in them, that the wheel works in an empty environment, and the text of an index page."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from devtools.environment import ROOT
from devtools.locks import LOCKS, PYPROJECT
from tests.support.wheel import assert_installed

pytestmark = pytest.mark.early
VERSION = PYPROJECT["project"]["version"]
#: What the tools write into a checkout; deploy/secrets and the results of benchmarks are those of one machine.
WRITTEN = shutil.ignore_patterns(
    ".git",
    ".venv*",
    "__pycache__",
    "*.egg-info",
    ".*_cache",
    ".hypothesis",
    "build",
    "dist",
    "secrets",
    "results",
    "failures",
    "*.so",  # of the package, where the tests run against the compiled wheel
)
IMPORT_ALL = """
import importlib, pkgutil, warnings, lbflask
warnings.simplefilter("ignore", DeprecationWarning)  # former import paths
for module in pkgutil.walk_packages(lbflask.__path__, "lbflask."):
    if not module.name.endswith("__main__"):
        try:
            print(importlib.import_module(module.name).__file__)
        except ModuleNotFoundError as error:
            if error.name.partition(".")[0] not in ("acme", "cryptography", "josepy"):  # of the extra acme
                raise
"""


class Built(NamedTuple):
    checkout: Path
    sdist: Path
    wheel: Path


def run(*command: str | Path, cwd: Path) -> str:
    environ = os.environ | {"LBFLASK_COMPILE": "0"}  # a compiled build takes minutes
    result = subprocess.run(command, cwd=cwd, env=environ, check=False, capture_output=True, text=True)
    assert_installed(result)
    return result.stdout


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A copy of the checkout without what tools write, the source distribution, and the wheel built from that."""
    folder = tmp_path_factory.mktemp("packaging")
    shutil.copytree(ROOT, folder / "checkout", ignore=WRITTEN)
    copied = files(folder / "checkout")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ".", cwd=folder / "checkout")
    shutil.rmtree(folder / "checkout" / "lbflask.egg-info")
    assert files(folder / "checkout") == copied
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(folder / "checkout", sdist, wheel)


@pytest.mark.thorough
def test_the_source_distribution_has_every_file_of_the_project(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert files(built.checkout) - names == set()
    assert not [name for name in names if "/secrets/" in name or "__pycache__" in name]


def test_the_wheel_has_every_file_of_the_package_and_no_other(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == {f"lbflask/{name}" for name in files(built.checkout / "lbflask")}


@pytest.mark.thorough
def test_the_wheel_works_in_an_empty_environment(built: Built, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", python, "install"]
    run(*pip, "--require-hashes", "--requirement", LOCKS / "base.txt", cwd=tmp_path)
    run(*pip, "--no-index", built.wheel, cwd=tmp_path)
    (tmp_path / "lbflask.toml").write_text('backends = ["http://127.0.0.1:8000"]\nredis_url = "redis://127.0.0.1/0"\n')
    lbflask = tmp_path / "venv" / "bin" / "lbflask"
    assert run(lbflask, "--version", cwd=tmp_path) == f"lbflask, version {VERSION} (python)\n"
    run(lbflask, "config", "check", "lbflask.toml", cwd=tmp_path)
    imported = run(python, "-c", IMPORT_ALL, cwd=tmp_path).splitlines()
    assert len(imported) > 100
    assert [file for file in imported if not Path(file).is_relative_to(tmp_path / "venv")] == []


@pytest.fixture(scope="module")
def description() -> Callable[[str, str | None, str], str]:
    found: Callable[[str, str | None, str], str] = runpy.run_path(str(ROOT / "setup.py"))["description"]
    return found


def test_an_index_page_has_no_link_that_leads_nowhere(
    built: Built, description: Callable[[str, str | None, str], str]
) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        metadata = archive.read(f"lbflask-{VERSION}.dist-info/METADATA").decode()
    shown = metadata.partition("\n\n")[2]
    assert [link for link in re.findall(r"\]\(([^)]*)\)", shown) if not link.startswith("https://")] == []
    readme = (ROOT / "README.md").read_text("utf-8")
    assert shown.strip() == description(readme, PYPROJECT["project"]["urls"].get("Source"), VERSION).strip()
    absolute = re.findall(r"\]\(([^)]*)\)", description(readme, "https://example.org/lbflask", VERSION))
    assert len(absolute) > 20
    assert [link for link in absolute if not link.startswith("https://")] == []


@pytest.mark.parametrize(
    ("text", "source", "shown"),
    [
        (
            "[limits](docs/limits.md#rates)",
            "https://a.example/b/",
            "[limits](https://a.example/b/blob/v1.2/docs/limits.md#rates)",
        ),
        (
            "![A](docs/a.png)\n\nB",
            "https://a.example/b",
            "![A](https://a.example/b/blob/v1.2/docs/a.png?raw=true)\n\nB",
        ),
        ("[limits](docs/limits.md)", None, "limits (`docs/limits.md`)"),
        ("[docs/limits.md](docs/limits.md)", None, "`docs/limits.md`"),
        ("![A](docs/a.png)\n\nB", None, "B"),
        ("[log](https://c.example/)", None, "[log](https://c.example/)"),
    ],
)
def test_links_of_the_readme_on_an_index_page(
    text: str, source: str | None, shown: str, description: Callable[[str, str | None, str], str]
) -> None:
    assert description(text, source, "1.2") == shown
