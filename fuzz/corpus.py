"""The inputs of a target that are kept in `corpora/`: small, and each with a branch that no earlier one reaches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from coverage import Coverage

from fuzz.targets import CORPORA, TARGETS, Target

#: Bytes of an input that is kept, and inputs that are kept of a target.
MOST_BYTES, MOST_INPUTS = 2048, 60

#: Steps between lines, by file.
Branches = set[tuple[str, tuple[int, int]]]


def inputs(name: str) -> Iterator[tuple[str, bytes]]:
    """The inputs of a target, with their file names, in order."""
    for path in sorted((CORPORA / name).iterdir()):
        yield path.name, path.read_bytes()


def grow(name: str, found: Path) -> int:
    """Add the files of a folder that reach new branches to the inputs of a target, the shortest first. Their number."""
    target, count = TARGETS[name], len(list(inputs(name)))
    known: Branches = set().union(*(branches(target, data) for _, data in inputs(name)))
    added = 0
    for data in sorted({path.read_bytes() for path in found.iterdir()}, key=lambda data: (len(data), data)):
        if len(data) > MOST_BYTES or count + added >= MOST_INPUTS:
            break
        reached = branches(target, data)
        if not reached <= known:
            known |= reached
            added += 1
            (CORPORA / name / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
    return added


def branches(target: Target, data: bytes) -> Branches:
    """The branches of the package that the property takes for an input, apart from those of imports."""
    target.load()
    coverage = Coverage(data_file=None, branch=True, config_file=False, source_pkgs=["lbflask"])
    coverage.set_option("run:disable_warnings", ["module-not-measured"])  # it was imported before
    with coverage.collect():
        target.check(data)
    measured = coverage.get_data()
    return {(file, step) for file in measured.measured_files() for step in measured.arcs(file) or ()}
