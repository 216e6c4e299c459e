"""Mutation tests of `lbflask/core/`: which faults of a module does its own test file not find?

    python -m devtools.mutation [--processes N] [lbflask/core/MODULE.py …]

Each mutant of a module (`devtools/mutants.py`) runs the test file of the module until a test fails. Lists the mutants
that survive. Each of them needs a reason in `tests/core/survivors.txt`, and of all mutants at most a tenth may survive.
Exits with 1 otherwise, and for a reason whose mutant does not survive.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from devtools.environment import ROOT
from devtools.examination import Examined, FailsUnchanged, Subject, Verdict
from devtools.individual_coverage import CORE, tests_of

SURVIVORS = ROOT / "tests" / "core" / "survivors.txt"
PROCESSES = 2
#: The share of all mutants that may survive.
MOST_SURVIVORS = 0.1

Identity = tuple[str, str, str]


def examined_apart(subject: Subject) -> list[Examined]:
    """The verdicts of a process of its own, with the same order of sets in each run. Raises FailsUnchanged."""
    command = [sys.executable, "-m", "devtools.examination", *map(str, subject)]
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        raise FailsUnchanged(process.stderr.strip())
    return [Examined(*values) for values in json.loads(process.stdout)]


def examine_all(subjects: Sequence[Subject], processes: int) -> Iterator[list[Examined]]:
    """The verdicts for each module, as they are complete."""
    with ThreadPoolExecutor(processes) as threads:
        futures = [threads.submit(examined_apart, subject) for subject in subjects]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            threads.shutdown(cancel_futures=True)


def reasons(text: str) -> dict[Identity, str]:
    """The reason of each mutant that may survive. Raises ValueError, which names the line.

    `[module function]` begins a section; its lines are mutants, and a line with `= ` gives the reason of those before.
    """
    found: dict[Identity, str] = {}
    place, waiting = ("", ""), list[Identity]()
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("= ") and waiting:
            found.update(dict.fromkeys(waiting, line[2:]))
            waiting = []
        elif line.startswith("[") and line.endswith("]") and not waiting and " -> " not in line:
            module, _, function = line[1:-1].partition(" ")
            place = module, function
        elif place[0] and " -> " in line:
            waiting.append((*place, line))
        elif line and not line.startswith("#"):
            raise ValueError(f"{SURVIVORS.name}, line {number}: expected [module function], a mutant or = reason")
    if waiting:
        raise ValueError(f"{SURVIVORS.name}: the last mutants have no reason")
    return found


def summary(module: str, examined: Sequence[Examined], explained: Mapping[Identity, str]) -> str:
    """One line for a module."""
    counts = Counter(one.verdict for one in examined)
    known = sum(1 for one in examined if one.verdict == Verdict.SURVIVED and one.identity in explained)
    figures = ", ".join(f"{counts[one]:4} {one}" for one in Verdict)
    return f"{module:45} {figures} ({known} explained)"


def complaints(examined: Sequence[Examined], explained: Mapping[Identity, str]) -> list[str]:
    """What is wrong with the verdicts on some modules."""
    survivors = {one.identity: one for one in examined if one.verdict == Verdict.SURVIVED}
    modules = {one.module for one in examined}
    found = [f"no reason: {one}" for identity, one in survivors.items() if identity not in explained]
    found += [
        f"does not survive: {module} {function}\n    {change}"
        for module, function, change in explained
        if module in modules and (module, function, change) not in survivors
    ]
    if len(survivors) > MOST_SURVIVORS * len(examined):
        found.append(f"more than {MOST_SURVIVORS:.0%} of the mutants survive")
    return found


def core_subjects(modules: Sequence[str]) -> list[Subject]:
    """The modules with their test files, the longest first; all of core/ without any. Raises ValueError."""
    paths = [Path(module) for module in modules]
    for path in paths:
        if not path.is_relative_to(CORE) or not (ROOT / path).is_file():
            raise ValueError(f"{path} is not a module below {CORE}")
    paths = paths or [path.relative_to(ROOT) for path in (ROOT / CORE).rglob("*.py")]
    paths.sort(key=lambda path: -(ROOT / path).stat().st_size)
    return [Subject(ROOT, path, tests_of(path)) for path in paths]


def command() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m devtools.mutation", description="Mutation tests of lbflask/core/.")
    parser.add_argument("modules", nargs="*", metavar="lbflask/core/MODULE.py", help="all modules without any")
    parser.add_argument("--processes", type=int, default=PROCESSES, metavar="N")
    return parser


def report(examined: Sequence[Examined], explained: Mapping[Identity, str]) -> int:
    """Print what is wrong, and the share of the survivors. Returns the exit code."""
    wrong = complaints(examined, explained)
    for one in wrong:
        print(one)
    counts = Counter(one.verdict for one in examined)
    share = counts[Verdict.SURVIVED] / max(1, len(examined))
    figures = ", ".join(f"{counts[one]} {one}" for one in Verdict)
    print(f"{len(examined)} mutants: {figures}; {share:.1%} survive")
    return 1 if wrong else 0


def main(arguments: list[str]) -> int:
    options = command().parse_args(arguments)
    everything: list[Examined] = []
    try:
        subjects = core_subjects(options.modules)
        explained = reasons(SURVIVORS.read_text("utf-8"))
        for examined in examine_all(subjects, max(1, options.processes)):
            if examined:
                everything += examined
                print(summary(examined[0].module, examined, explained), flush=True)
    except (FailsUnchanged, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return report(sorted(everything, key=lambda one: (one.module, one.line)), explained)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
