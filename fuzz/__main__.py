"""Fuzzes targets with atheris: `python -m fuzz [TARGET …] [--seconds N | --inputs N] [--jobs N] [--keep]`.

Each target starts from its corpora. With `--seconds` its inputs differ from run to run; with `--inputs` they are the
same in each run of the same code, so that a change alone decides the result. An input that breaks its property is
written to `fuzz/failures/`, and the exit code is 1; as a file of the corpora it becomes a test. `--keep` adds inputs
that reach new branches to the corpora.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from fuzz.corpus import grow
from fuzz.targets import CORPORA, TARGETS, Target

try:
    import atheris
except ImportError:
    atheris = None

FAILURES = CORPORA.with_name("failures")
#: Bytes of an input; seconds and megabytes that one input may take.
MOST_BYTES, MOST_SECONDS, MOST_MEGABYTES = 4096, 10, 2048
_PROGRESS = re.compile(r"^(?:#[0-9]|INFO:).*\n", re.MULTILINE)
_EXECUTED = re.compile(r"number_of_executed_units: *([0-9]+)")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz the parsers.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"all unless given: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=10, help="for each target (10)")
    parser.add_argument("--inputs", type=int, default=0, help="for each target, from a fixed seed, instead of seconds")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at once (one per processor)")
    parser.add_argument("--keep", action="store_true", help="add inputs that reach new branches to the corpora")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.targets if name not in TARGETS]
    if unknown or given.seconds < 1 or given.jobs < 1 or given.inputs < 0:
        parser.error(f"there is no target {unknown[0]!r}" if unknown else "seconds and jobs are at least 1")
    if atheris is None:
        print("atheris is not installed: it is in the extra `fuzz`, and has no wheel for some versions of Python")
        return 1
    chosen = {name: TARGETS[name] for name in given.targets or TARGETS}
    extent = f"-seed=1 -runs={given.inputs}" if given.inputs else f"-max_total_time={given.seconds}"
    _import_instrumented(chosen)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        failed = _fuzz_all(chosen, Path(folder), extent, given.jobs)
        if given.keep:
            for name in chosen.keys() - set(failed):
                print(f"{name}: {grow(name, Path(folder, name, 'found'))} inputs added to its corpora")
    print(f"{len(chosen) - len(failed)} of {len(chosen)} targets without a failure")
    return 1 if failed else 0


def _import_instrumented(targets: dict[str, Target]) -> None:
    """Import the parsers so that atheris sees their branches, and the properties, once for all targets."""
    silently = contextlib.redirect_stderr(io.StringIO())  # it writes a line for each module
    with silently, atheris.instrument_imports(include=["lbflask"], enable_loader_override=False):
        for target in targets.values():
            target.load()


def _fuzz_all(targets: dict[str, Target], folder: Path, extent: str, jobs: int) -> list[str]:
    """The targets that failed. Each runs in a process of its own, since the engine ends its process."""
    waiting, running, failed = list(targets.items()), dict[int, str](), []
    while waiting or running:
        while waiting and len(running) < jobs:
            name, target = waiting.pop(0)
            running[_started(name, target, folder / name, extent)] = name
        process, status = os.wait()
        name = running.pop(process)
        log = (folder / name / "log").read_text("utf-8", "replace")
        executed = _EXECUTED.search(log)
        print(f"{name}: {int(executed[1]):,} inputs" if executed else f"{name}: ended early", flush=True)
        if status:
            failed.append(name)
            print(_PROGRESS.sub("", log)[-4000:], flush=True)
    return failed


def _started(name: str, target: Target, folder: Path, extent: str) -> int:
    """The process of a fuzzer of the target; its output goes to the file `log` in the folder."""
    found = folder / "found"
    found.mkdir(parents=True)
    FAILURES.mkdir(exist_ok=True)
    process = os.fork()
    if not process:
        try:
            _fuzz(name, target, folder, found, extent)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)  # the engine ends the process itself: nothing of the parent runs here
    return process


def _fuzz(name: str, target: Target, folder: Path, found: Path, extent: str) -> None:
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1)
    tempfile.tempdir = str(folder)
    limits = f"{extent} -max_len={MOST_BYTES} -timeout={MOST_SECONDS} -rss_limit_mb={MOST_MEGABYTES}"
    options = [*limits.split(), "-print_final_stats=1", f"-artifact_prefix={FAILURES}/{name}-"]

    def check(data: bytes) -> None:
        try:
            target.check(data)
        except BaseException:
            (FAILURES / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)
            raise

    atheris.Setup([sys.argv[0], *options, str(found), str(CORPORA / name)], check)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
