"""A cache that forgets: at the time of an entry, and beyond its bound."""

from __future__ import annotations

from lbflask.core.expiring_cache import ExpiringCache


def test_a_value_is_found_until_its_time() -> None:
    cache: ExpiringCache[str] = ExpiringCache(2)
    cache.put(b"a", "one", 10.0)
    assert cache.find(b"a", 9.9) == "one"
    assert cache.find(b"a", 10.0) is None
    assert len(cache) == 0
    assert cache.find(b"b", 0.0) is None


def test_the_oldest_goes_first() -> None:
    cache: ExpiringCache[int] = ExpiringCache(2)
    for number, key in enumerate((b"a", b"b", b"a", b"c")):
        cache.put(key, number, 10.0)
    assert [cache.find(key, 0.0) for key in (b"a", b"b", b"c")] == [2, None, 3]
    assert "2 of 2" in repr(cache)
