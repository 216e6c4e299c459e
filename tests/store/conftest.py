"""The stores, each behind the handles of a rig."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.store.stores import Rig, fake_redis, memory, real_redis
from tests.support.selection import first_of


@pytest.fixture(params=first_of(["memory", "valkey", "fakeredis"], quick=2))
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Every store in its turn."""
    if request.param == "memory":
        made = memory()
    elif request.param == "fakeredis":
        made = fake_redis()
    else:
        made = real_redis(request.getfixturevalue("redis_url"))
    with made as rig:
        yield rig
