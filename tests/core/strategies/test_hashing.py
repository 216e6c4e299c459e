from __future__ import annotations

from lbflask.core.strategies.hashing import hash_of, mixed


def test_the_hash_of_a_text_is_the_same_in_every_version() -> None:
    assert hash_of("backend") == hash_of("backend") != hash_of("backend2")
    assert 0 <= hash_of("\udc80é") < 1 << 64


def test_mixed_is_splitmix64() -> None:
    assert [mixed(0), mixed(0x9E3779B97F4A7C15)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]
