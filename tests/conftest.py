"""Fixtures that several folders use. Helpers live in tests/support/."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import redis

from tests.support.leftovers import leftovers, mark_children
from tests.support.servers import valkey
from tests.support.wait import eventually


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first: else one worker would be left with them while the others have nothing to do."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)


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
