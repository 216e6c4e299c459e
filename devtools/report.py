"""What a benchmark says: percentiles, tables, targets met or missed, and a file that a program can read."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
MIB = 1 << 20
KIB = 1 << 10

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"


@dataclass(frozen=True, slots=True)
class Check:
    """A number against its target: at most, or with `at_least` at least so much. No number is a miss."""

    what: str
    measured: float
    target: float
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the target is met. NaN meets none."""
        return self.measured >= self.target if self.at_least else self.measured <= self.target

    def row(self) -> list[str]:
        """As a line of a table."""
        sign = ">=" if self.at_least else "<="
        unit = f" {self.unit}" if self.unit else ""
        verdict = "pass" if self.met else "FAIL"
        return [self.what, f"{number(self.measured)}{unit}", f"{sign} {number(self.target)}{unit}", verdict]


def number(value: float) -> str:
    """Three digits or all the whole ones."""
    if math.isnan(value):
        return "none"
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.3g}"


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed (nearest rank); NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def ratio(value: float, base: float) -> float:
    """How many times the base; NaN when there is nothing to compare with."""
    return value / base if base else math.nan


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table whose columns are as wide as their widest cell."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(head))]
    texts = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines]
    return "\n".join([texts[0], "| " + " | ".join("-" * width for width in widths) + " |", *texts[1:]])


def options(doc: str | None, name: str) -> argparse.ArgumentParser:
    """The command line that all benchmarks share."""
    spec = sys.modules["__main__"].__spec__
    parser = argparse.ArgumentParser(
        prog=f"python -m {spec.name.removesuffix('.__main__')}" if spec else None,  # as from Python 3.14 on
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a few seconds, to see that it works: decides nothing")
    parser.add_argument("--json", type=Path, default=RESULTS / f"{name}.json", help="where the numbers go")
    return parser


def conclude(given: argparse.Namespace, checks: Sequence[Check], numbers: dict[str, Any]) -> None:
    """Print the checks and write the file. Ends with status 1 if a target was missed, but not after a short run."""
    if checks:
        print(table(["", "measured", "target", ""], [check.row() for check in checks]))
    judged = [asdict(check) | {"met": check.met} for check in checks]
    write(given.json, {"quick": given.quick, "machine": machine(), "checks": judged, **numbers})
    if given.quick:
        print("a short run: it shows that the benchmark works, and nothing else", file=sys.stderr)
    elif not all(check.met for check in checks):
        sys.exit(1)


def write(path: Path, content: dict[str, Any]) -> None:
    """The numbers of a run. NaN becomes null, since JSON has none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_without_nan(content), indent=1, default=str) + "\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say(line: str) -> None:
    """How it goes, apart from the result."""
    print(line, file=sys.stderr, flush=True)


def machine() -> dict[str, str]:
    """What was measured with, and on."""
    cpus = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cpu": cpus[0] if cpus else platform.machine(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        **{name: _package(name) for name in ("gunicorn", "gevent", "requests", "aiohttp", "uvloop")},
        "go": _said(["go", "version"]),
        "nginx": _said(["nginx", "-v"]),
        "haproxy": _said(["haproxy", "-v"]),
    }


def _package(name: str) -> str:
    try:
        return package_version(name)
    except PackageNotFoundError:
        return ""


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return short_version((done.stdout + done.stderr).strip())


def short_version(said: str) -> str:
    """The number in what a program says of its version: `nginx version: nginx/1.22.1` is 1.22.1."""
    found = re.search(r"\d+(?:\.\d+)+", said)
    return found[0] if found else ""


def machine_line(about: dict[str, str]) -> str:
    """The machine and the versions in a sentence, for people; what is not installed is not named."""
    programs = [f"{name} {value}" for name, value in about.items() if name not in ("cpu", "cores") and value]
    return f"Measured on {about['cores']} cores of {about['cpu']}, with {', '.join(programs)}."


def between_markers(page: str, content: str, begin: str = BEGIN, end: str = END) -> str:
    """The page with this content between its markers. Raises ValueError for a page without them."""
    before, begun, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended:
        raise ValueError(f"the page lacks the markers {begin} and {end}")
    return f"{before}{begin}\n{content.strip()}\n{end}{after}"
