"""Fixtures that several folders use, and how a run begins, is ordered and ends. Helpers: tests/support/, devtools/."""

from __future__ import annotations

import gc
import importlib
import os
import signal
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis

from devtools.environment import ROOT
from devtools.servers import valkey
from devtools.wait import eventually
from tests.support.busy import Busy
from tests.support.leftovers import Leftover, leftovers, mark_children
from tests.support.selection import QUICK_EXAMPLES, Extent, left_out

#: On a busy machine an example may take longer than Hypothesis allows by default. With EXAMPLES=fixed, as in CI,
#: the examples are the same each time, so that a fault found by chance fails no other change.
hypothesis.settings.register_profile("untimed", deadline=None, derandomize=os.environ.get("EXAMPLES") == "fixed")
hypothesis.settings.register_profile("quick", hypothesis.settings.get_profile("untimed"), max_examples=QUICK_EXAMPLES)
hypothesis.settings.load_profile("untimed")

_DEFAULTS = ((signal.SIGQUIT, signal.SIG_DFL), (signal.SIGTERM, signal.SIG_DFL))
BUSY = pytest.StashKey[Busy]()
LEFT = pytest.StashKey[list[Leftover]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long tests too, and more members of sampled ones")
    parser.addoption("--all", action="store_true", help="run the thorough tests too, and every member of sampled ones")
    parser.addoption("--busy", type=int, default=0, metavar="N", help="run beside N processes that compute without end")
    parser.addoption(
        "--grace", type=float, default=20.0, metavar="SECONDS", help="for processes of the tests to end after the last"
    )


@pytest.hookimpl(tryfirst=True)  # a profile of devtools/individual_coverage.py comes after it
def pytest_configure(config: pytest.Config) -> None:
    """Signals that the shell ignores, as for a job in the background, would be ignored by every process of a test.
    What is started carries a mark, in the process that distributes the tests as in those that run them.
    """
    for number, usual in ((signal.SIGINT, signal.default_int_handler), *_DEFAULTS):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    mark_children()
    if extent(config) is Extent.QUICK:
        hypothesis.settings.load_profile("quick")
    if not hasattr(config, "workerinput"):
        config.stash[BUSY] = Busy(config.getoption("--busy"))


@pytest.hookimpl(trylast=True)  # when the processes that run tests have been ended
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails a run that leaves a process running, whichever process of the run started it. It is killed then."""
    config = session.config
    if BUSY in config.stash:
        config.stash[BUSY].stop()
        config.stash[LEFT] = end_leftovers(config)
        if config.stash[LEFT] and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for one in config.stash.get(LEFT, []):
        terminalreporter.write_line(f"ERROR: left running by this run: {one}", red=True)


def end_leftovers(config: pytest.Config) -> list[Leftover]:
    """What still runs after the time that it is given to end, killed now."""
    try:
        eventually(lambda: not leftovers(os.getpid()), "all processes have ended", within=config.getoption("--grace"))
    except AssertionError:
        left = leftovers(os.getpid())
        for one in left:
            one.kill()
        return left
    return []


def load_share(config: pytest.Config) -> None:
    """Load a share of the tests before all of them, in one of several processes that collect all. pytest compiles each
    file with its assertions, and keeps the result: so not every process compiles all files where there are none yet.
    """
    given: dict[str, Any] = getattr(config, "workerinput", {})
    if not given or [Path(one).resolve() for one in config.args] != [ROOT / "tests"]:
        return
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    for file in files[int(given["workerid"].removeprefix("gw")) :: given["workercount"]]:
        with suppress(Exception):  # is reported when it is collected
            importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """What is collected lives as long as the run: garbage collections that visit it find nothing."""
    gc.disable()
    try:
        load_share(session.config)
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The slow ones first: else one process would be left with them while the others have nothing to do.

    Without --long and --all some do not run (tests/support/selection.py).
    """
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("early", "e2e")])
    out = left_out(items, extent(config))
    if out:
        config.hook.pytest_deselected(items=[item for item in items if item in out])
        items[:] = [item for item in items if item not in out]


def extent(config: pytest.Config) -> Extent:
    if config.getoption("--all"):
        return Extent.ALL
    return Extent.LONG if config.getoption("--long") else Extent.QUICK


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left(pytestconfig: pytest.Config) -> Iterator[None]:
    """Fails when something that the tests of one of several processes started still runs after all of them."""
    yield
    if BUSY not in pytestconfig.stash and (left := end_leftovers(pytestconfig)):
        pytest.fail(f"left running: {left}")


@pytest.fixture(scope="session")
def _shared_valkey() -> Iterator[str]:
    with valkey() as url:
        yield url


@pytest.fixture
def redis_url(_shared_valkey: str) -> str:
    """A real Valkey, emptied before the test."""
    with redis.Redis.from_url(_shared_valkey) as client:
        client.flushall()
    return _shared_valkey
