"""Lines and branches outside `core/` that the whole suite runs, in all of its processes: `make coverage`.

    python -m devtools.coverage [OPTION OF PYTEST …]

Measured are also the commands, checkers and gunicorns that tests start, with the workers that these fork. A process
that a test kills is not measured; at the end of their tests processes get some seconds to end by a signal first. Prints
each package with its share, and the modules with the most that is missing. Exits with 1 below the bar, or if a test
fails. The modules of `core/` have a measurement of their own (individual_coverage.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from coverage import Coverage

from devtools.environment import ROOT

#: Percent of the lines and branches.
BAR = 90.0
#: Modules that are listed with what is missing in them.
LISTED = 20
_PYTEST = ["-m", "pytest", "--numprocesses", "4", "--dist", "loadfile", "--no-loadscope-reorder", "--long"]
_SETTINGS = str(ROOT / "pyproject.toml")
_CORE = ROOT / "lbflask" / "core"


class Share(NamedTuple):
    """Lines and branches that ran, of so many."""

    ran: int = 0
    of: int = 0

    def __add__(self, other: tuple[int, ...]) -> Share:  # type: ignore[override]
        return Share(self.ran + other[0], self.of + other[1])

    @property
    def percent(self) -> float:
        return 100 * self.ran / self.of if self.of else 100.0


def run(folder: Path, pytest: Sequence[str]) -> int:
    """The exit code of pytest; each process of the run leaves a file in the folder."""
    command = [sys.executable, "-m", "coverage", "run", f"--rcfile={_SETTINGS}", *pytest]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | {"COVERAGE_FILE": str(folder / "data")}, check=False
    ).returncode


def shares(folder: Path) -> dict[PurePath, Share]:
    """The share of each module outside `core/`, by its place in the repository, from the files in the folder."""
    coverage = Coverage(data_file=str(folder / "data"), config_file=_SETTINGS)
    coverage.combine([str(folder)])
    report = folder / "report.json"
    coverage.json_report(outfile=str(report), omit=[f"{_CORE}/*"])
    return by_module(json.loads(report.read_text("utf-8")))


def by_module(report: Mapping[str, Any]) -> dict[PurePath, Share]:
    """The shares in a report of coverage in JSON."""
    found = {}
    for name, file in report["files"].items():
        summary = file["summary"]
        share = Share(
            summary["covered_lines"] + summary["covered_branches"], summary["num_statements"] + summary["num_branches"]
        )
        path = PurePath(name)
        found[path.relative_to(ROOT) if path.is_absolute() else path] = share
    return found


def by_package(modules: Mapping[PurePath, Share]) -> dict[str, Share]:
    """The share of each package below `lbflask/`; the modules beside them count as one."""
    found: defaultdict[str, Share] = defaultdict(Share)
    for path, share in modules.items():
        found["/".join(path.parts[:2]) if len(path.parts) > 2 else path.parts[0]] += share
    return dict(sorted(found.items()))


def summary(modules: Mapping[PurePath, Share]) -> tuple[str, float]:
    """The lines to print, and the percentage of all modules together."""
    packages, total = by_package(modules), sum(modules.values(), Share())
    lines = [f"{name:24} {share.percent:5.1f} %{_below(share)}" for name, share in packages.items()]
    worst = sorted(modules, key=lambda path: modules[path].ran - modules[path].of)[:LISTED]
    missing = [
        f"{path!s:56} {modules[path].of - modules[path].ran:4} missing"
        for path in worst
        if modules[path].ran < modules[path].of
    ]
    return "\n".join([*lines, *missing, f"{'outside core/':24} {total.percent:5.1f} %{_below(total)}"]), total.percent


def _below(share: Share) -> str:
    return "" if share.percent >= BAR else f"  below {BAR:g} %"


def main(options: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="coverage-") as name:
        failed = run(Path(name), [*_PYTEST, *options])
        if failed > 1:  # no tests ran, or not all of them
            return failed
        text, percent = summary(shares(Path(name)))
    print(text)
    if failed:
        print("the tests did not pass")
    return 1 if failed or percent < BAR else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
