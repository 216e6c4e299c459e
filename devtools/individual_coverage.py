"""Branch coverage of each module of `lbflask/core/` by its own test file alone.

    python -m devtools.individual_coverage [lbflask/core/MODULE.py …]

Lines that only tests of other modules run are not covered. Lists each module with missing lines, and then exits with 1.
All test files run once, in two processes: each is a context of the measurement.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

import pytest
from coverage import Coverage

ROOT = Path(__file__).resolve().parents[1]
CORE = Path("lbflask", "core")
PROCESSES = 2
CONFIG = {
    "run:branch": True,
    "run:source": [str(ROOT / CORE)],
    "report:exclude_also": [r"^\s*\.\.\.$", "if TYPE_CHECKING:"],
}


class ContextPerFile:
    """Plugin of pytest: records which test file runs a line, in a test or while the file is imported."""

    def __init__(self, measurement: Coverage) -> None:
        self._measurement = measurement
        self._file = ""

    def pytest_configure(self) -> None:
        """The same few examples in each run: enough to reach each branch, and branches never depend on chance."""
        from hypothesis import settings  # noqa: PLC0415 - pytest imports its plugin first

        settings.register_profile("coverage", max_examples=20, deadline=None, derandomize=True, database=None)
        settings.load_profile("coverage")

    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        self._switch(collector.path)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._switch(item.path)

    def _switch(self, path: Path) -> None:
        file = str(path.relative_to(ROOT))
        if file != self._file:
            self._file = file
            self._measurement.switch_context(file)


def tests_of(module: Path) -> Path:
    """The test file of a module, at the same place below `tests/`; that of a package has the name of the package."""
    path = module.relative_to("lbflask")
    path = path.parent.with_suffix(".py") if path.name == "__init__.py" else path
    return Path("tests") / path.with_name(f"test_{path.name}")


def uncovered(modules: Iterable[Path], measurement: Coverage, report: Path) -> dict[Path, str]:
    """The modules that their own tests do not cover completely, each with the missing lines and branches."""
    missing = {}
    for module in modules:
        contexts = ["^$", f"^{re.escape(str(tests_of(module)))}$"]
        measurement.json_report(morfs=[str(ROOT / module)], outfile=str(report), contexts=contexts)
        (result,) = json.loads(report.read_text("utf-8"))["files"].values()
        lines = result["missing_lines"]
        branches = [f"{line}->{to}" for line, to in result["missing_branches"] if line not in lines]
        if lines or branches:
            missing[module] = ", ".join([*map(str, lines), *branches])
    return missing


def coverage_to(data: Path) -> Coverage:
    coverage = Coverage(data_file=str(data), config_file=False)
    for option, value in CONFIG.items():
        coverage.set_option(option, value)
    return coverage


def measured(folder: Path, number: int, tests: Sequence[str]) -> int:
    """The exit code of pytest for these tests; what they run is recorded in a file of the folder."""
    measurement = coverage_to(folder / f"data.{number}")
    measurement.start()
    for module in (ROOT / CORE).rglob("*.py"):  # without a context: what an import runs is covered by any test file
        import_module(".".join(module.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    options = ["-q", "--no-header", f"--rootdir={ROOT}", "-p", "no:cacheprovider"]
    code = pytest.main([*options, *tests], plugins=[ContextPerFile(measurement)])
    measurement.stop()
    measurement.save()
    return int(code)


def main(arguments: list[str]) -> int:
    modules = [Path(argument) for argument in arguments] or [
        path.relative_to(ROOT) for path in sorted((ROOT / CORE).rglob("*.py"))
    ]
    tests = [str(ROOT / tests_of(module)) for module in modules if (ROOT / tests_of(module)).exists()]
    shares = [share for number in range(PROCESSES) if (share := tests[number::PROCESSES])]
    with tempfile.TemporaryDirectory() as name, ProcessPoolExecutor(PROCESSES, get_context("spawn")) as processes:
        folder = Path(name)
        codes = list(processes.map(partial(measured, folder), range(PROCESSES), shares))
        if any(codes):
            return max(codes)
        measurement = coverage_to(folder / "data")
        measurement.combine()
        missing = uncovered(modules, measurement, folder / "report.json")
    for module, lines in missing.items():
        print(f"{module}: {tests_of(module)} does not cover {lines}")
    print(f"{len(missing)} of {len(modules)} modules are not covered by their own tests")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
