"""Fixtures that several folders use. Helpers live in tests/support/."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest
import redis

from tests.support.leftovers import leftovers, mark_children
from tests.support.servers import valkey
from tests.support.wait import eventually

_DEFAULTS = ((signal.SIGQUIT, signal.SIG_DFL), (signal.SIGTERM, signal.SIG_DFL))


def pytest_configure() -> None:
    """Signals that the shell ignores, as for a job in the background, would be ignored by every process of a test."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), *_DEFAULTS):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run every member of the tests that are sampled")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The slow ones first: else one worker would be left with them while the others have nothing to do.

    Of a test that starts processes for each of many members, one member in so many runs, unless all are asked for.
    """
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)
    if config.getoption("--all"):
        return
    seen: Counter[str] = Counter()
    left_out: set[pytest.Item] = set()
    for item in items:
        sampled = item.get_closest_marker("sampled")
        if sampled is not None:
            test = item.nodeid.partition("[")[0]
            if seen[test] % sampled.args[0]:
                left_out.add(item)
            seen[test] += 1
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """Fails when something that the tests started still runs after all of them. It is killed then."""
    mark_children()
    yield
    try:
        eventually(lambda: not leftovers(os.getpid()), "all processes have ended", within=5.0)
    except AssertionError:
        left = leftovers(os.getpid())
        for one in left:
            one.kill()
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
