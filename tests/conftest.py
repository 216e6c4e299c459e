"""Fixtures that several folders use. Helpers live in tests/support/."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.support.servers import valkey


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
