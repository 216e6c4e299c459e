"""Verdicts on the mutants of a module: whether its test file fails with each of them in place of the module.

    python -m devtools.examination ROOT MODULE TESTS

Writes the verdicts as JSON. `devtools/mutation.py` is the command for users.

A process loads the libraries, and the modules that do not import the subject; each mutant is a fork of it. The tests
that run the changed line come first, the fastest of them before others, and the first failure ends the run. A test may
take ten times its usual processor time and a second more, so that other load on the machine changes no verdict.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from enum import StrEnum
from functools import partial
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from multiprocessing import get_context
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

import pytest
from coverage import Coverage
from hypothesis import HealthCheck, Phase, settings

from devtools.mutants import Mutant, mutants

#: Seconds of processor time: of a test, as a multiple of what it usually takes, and beyond that.
FACTOR, EXTRA = 10, 1.0
#: Usual seconds of processor time until the first test begins, at most.
START = 1.0
#: Seconds of any time that a mutant may take: it may wait for what never happens.
PATIENCE = 120
#: Bytes of memory that a mutant may take.
MEMORY = 4 << 30
OPTIONS = ("-q", "--exitfirst", "--assert=plain", "--noconftest", "-p", "no:cacheprovider")


class FailsUnchanged(Exception):
    """The tests fail without a mutant; the message names them."""


class Verdict(StrEnum):
    """What the tests did with a mutant."""

    KILLED = "killed"
    TIMED_OUT = "timed out"
    SURVIVED = "survived"


class Subject(NamedTuple):
    """A module and its test file, by their paths below the folder from which they are imported."""

    root: Path
    module: Path
    tests: Path

    @property
    def name(self) -> str:
        return ".".join(self.module.with_suffix("").parts).removesuffix(".__init__")


class Examined(NamedTuple):
    """The verdict on a mutant. Module, function and change are its identity."""

    module: str
    function: str
    change: str
    line: int
    verdict: str

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.module, self.function, self.change

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.function}\n    {self.change}"


class Record(NamedTuple):
    """A run of the tests without a mutant: seconds of each test, the tests that run a line, and the loaded modules."""

    seconds: dict[str, float]
    tests: dict[str, list[str]]
    modules: list[str]

    def covering(self, lines: tuple[int, int]) -> set[str]:
        """The tests that run one of the lines, from the first one to the last one."""
        return {test for line in range(lines[0], lines[1] + 1) for test in self.tests.get(str(line), ())}


class Substitute(MetaPathFinder, Loader):
    """Loads a module with other code. Without code the module cannot be imported, nor what imports it."""

    def __init__(self, subject: Subject, code: CodeType | None = None) -> None:
        self._subject = subject
        self._code = code

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname != self._subject.name:
            return None
        if self._code is None:
            raise ModuleNotFoundError(fullname)
        file = self._subject.root / self._subject.module
        folders = [str(file.parent)] if file.name == "__init__.py" else None
        return spec_from_file_location(fullname, file, loader=self, submodule_search_locations=folders)

    def exec_module(self, module: ModuleType) -> None:
        assert self._code is not None
        exec(self._code, module.__dict__)


class FewExamples:
    """Plugin of pytest: the same few examples of each property in each run, which are not reduced after a failure."""

    def pytest_configure(self) -> None:
        phases, checks = (Phase.explicit, Phase.generate), list(HealthCheck)
        settings.register_profile(
            "mutation",
            max_examples=25,
            deadline=None,
            derandomize=True,
            database=None,
            phases=phases,
            suppress_health_check=checks,
        )
        settings.load_profile("mutation")


class Recorder(FewExamples):
    """Plugin of pytest: records for each test the processor time and, with coverage, the lines."""

    def __init__(self, measurement: Coverage) -> None:
        self.seconds: dict[str, float] = {}
        self._measurement = measurement

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._measurement.switch_context(item.nodeid)
        begin = time.process_time()
        result = yield
        self.seconds[item.nodeid] = time.process_time() - begin
        self._measurement.switch_context("")
        return result


class CoveringFirst(FewExamples):
    """Plugin of pytest: begins with the tests that run the changed lines, and limits the processor time of each."""

    def __init__(self, record: Record, lines: tuple[int, int]) -> None:
        self._seconds = record.seconds
        self._covering = record.covering(lines)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: (item.nodeid not in self._covering, self._seconds.get(item.nodeid, 0.0)))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        limit_processor_time(self._seconds.get(item.nodeid, 0.0))

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """End the fork here: what pytest does after the tests takes a third of the time of a usual mutant."""
        os._exit(int(exitstatus))


def limit_processor_time(usual: float) -> None:
    """End this process with SIGPROF after FACTOR times the usual seconds of processor time, and EXTRA."""
    signal.setitimer(signal.ITIMER_PROF, FACTOR * usual + EXTRA)


def run_tests(subject: Subject, plugin: FewExamples) -> int:
    """The exit code of pytest for the test file."""
    return int(pytest.main([*OPTIONS, f"--rootdir={subject.root}", str(subject.root / subject.tests)], [plugin]))


def in_fork(function: Callable[[], int]) -> int | None:
    """The exit code of a fork that calls the function, without output; None if it does not end in time."""

    def call() -> None:
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = 1
        try:
            code = function()
        finally:
            os._exit(code)

    process = get_context("fork").Process(target=call)
    process.start()
    process.join(PATIENCE)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
    process.close()
    return code


def record(subject: Subject, file: Path) -> int:
    """Run the tests without a mutant, and write the record. Returns the exit code of pytest."""
    module = str(subject.root / subject.module)
    measurement = Coverage(data_file=None, include=[module])
    recorder = Recorder(measurement)
    measurement.start()
    code = run_tests(subject, recorder)
    measurement.stop()
    lines = measurement.get_data().contexts_by_lineno(module)
    tests = {str(line): [context for context in contexts if context] for line, contexts in lines.items()}
    file.write_text(json.dumps(Record(recorder.seconds, tests, list(sys.modules))._asdict()), "utf-8")
    return code


def preload(subject: Subject, modules: Iterable[str]) -> None:
    """Import the modules, but for those that import the subject."""
    blocked = Substitute(subject)
    sys.meta_path.insert(0, blocked)
    for name in modules:
        with suppress(Exception):
            import_module(name)
    sys.meta_path.remove(blocked)


def run_mutant(subject: Subject, known: Record, mutant: Mutant) -> int:
    """Run the tests with the mutant in place of the module. Returns the exit code of pytest."""
    limit_processor_time(START)
    sys.meta_path.insert(0, Substitute(subject, mutant.code))
    return run_tests(subject, CoveringFirst(known, mutant.lines))


def verdict(code: int | None) -> Verdict:
    """The verdict for the exit code of the fork."""
    if code in (None, -signal.SIGPROF):
        return Verdict.TIMED_OUT
    return Verdict.KILLED if code else Verdict.SURVIVED


def examine(subject: Subject) -> list[Examined]:
    """The verdicts on all mutants of a module. Raises FailsUnchanged.

    The process must not have imported the module. Without a test file all mutants survive.
    """
    sys.path.insert(0, str(subject.root))
    found = list(mutants((subject.root / subject.module).read_text("utf-8"), str(subject.root / subject.module)))
    verdicts = [Verdict.SURVIVED for _ in found]
    if found and (subject.root / subject.tests).exists():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "record.json")
            code = in_fork(partial(record, subject, file))
            if code != 0:
                raise FailsUnchanged(f"{subject.tests} fails without a mutant: python -m pytest {subject.tests}")
            known = Record(**json.loads(file.read_text("utf-8")))
        preload(subject, known.modules)
        gc.freeze()
        verdicts = [verdict(in_fork(partial(run_mutant, subject, known, mutant))) for mutant in found]
    return [
        Examined(str(subject.module), mutant.function, mutant.change, mutant.lines[0], result)
        for mutant, result in zip(found, verdicts, strict=True)
    ]


def main(arguments: list[str]) -> int:
    root, module, tests = map(Path, arguments)
    try:
        examined = examine(Subject(root, module, tests))
    except FailsUnchanged as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(examined))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
