"""Branch coverage of each module of `lbflask/core/` by its own test file alone.

    python -m devtools.individual_coverage [lbflask/core/MODULE.py …]

Lines that only tests of other modules run are not covered. Lists each module with missing lines, and then exits with 1.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from coverage import Coverage

ROOT = Path(__file__).resolve().parents[1]
CORE = Path("lbflask", "core")
CONFIG = """[run]
branch = true
source = lbflask/core
dynamic_context = test_function
data_file = {data}

[report]
exclude_also =
    ^\\s*\\.\\.\\.$
    if TYPE_CHECKING:
"""


def tests_of(module: Path) -> Path:
    """The test file of a module, at the same place below `tests/`; that of a package has the name of the package."""
    path = module.relative_to("lbflask")
    path = path.parent.with_suffix(".py") if path.name == "__init__.py" else path
    return Path("tests") / path.with_name(f"test_{path.name}")


def uncovered(modules: Iterable[Path], config: Path, data: Path) -> dict[Path, str]:
    """The modules that their own tests do not cover completely, each with the missing lines and branches."""
    measured = Coverage(data_file=str(data), config_file=str(config))
    measured.load()
    report = data.with_suffix(".json")
    missing = {}
    for module in modules:
        context = re.escape(".".join(tests_of(module).with_suffix("").parts))
        measured.json_report(morfs=[str(module)], outfile=str(report), contexts=[rf"^{context}\.", "^$"])
        (result,) = json.loads(report.read_text("utf-8"))["files"].values()
        lines = result["missing_lines"]
        branches = [f"{line}->{to}" for line, to in result["missing_branches"] if line not in lines]
        if lines or branches:
            missing[module] = ", ".join([*map(str, lines), *branches])
    return missing


def main(arguments: list[str]) -> int:
    modules = [Path(argument) for argument in arguments] or [
        path.relative_to(ROOT) for path in sorted((ROOT / CORE).rglob("*.py"))
    ]
    tests = [str(tests_of(module)) for module in modules if (ROOT / tests_of(module)).exists()]
    with tempfile.TemporaryDirectory() as folder:
        config, data = Path(folder, "coveragerc"), Path(folder, "data")
        config.write_text(CONFIG.format(data=data), "utf-8")
        command = [sys.executable, "-m", "coverage", "run", f"--rcfile={config}", "-m", "pytest", "-q", *tests]
        if code := subprocess.run(command, cwd=ROOT, check=False).returncode:
            return code
        missing = uncovered(modules, config, data)
    for module, lines in missing.items():
        print(f"{module}: {tests_of(module)} does not cover {lines}")
    print(f"{len(missing)} of {len(modules)} modules are not covered by their own tests")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
