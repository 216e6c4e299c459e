"""The limit of the token buckets in memory; the suite of all stores has the rest."""

from __future__ import annotations

import pytest

from lbflask.core.rate_limit import RateLimit
from lbflask.store import memory_buckets
from lbflask.store.memory_buckets import MemoryBuckets

LIMIT = RateLimit("api", 1, 60, 4)


def test_no_more_than_so_many_buckets_are_kept_and_the_latest_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_buckets, "MAX_BUCKETS", 10)
    buckets = MemoryBuckets()
    for number in range(100):
        buckets.take(LIMIT, str(number), 1000.0)
        assert len(buckets._buckets) <= 10
    assert buckets.take(LIMIT, "99", 1000.0).left == 2
