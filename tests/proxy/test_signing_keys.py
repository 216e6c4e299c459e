"""Keys of tokens: fetched in the background, once for all requests that need them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from devtools.wait import PATIENCE, eventually
from lbflask.core.web_token import WebToken
from lbflask.proxy.signing_keys import SigningKeys, VerifyingKeys


class Keys:
    """A set with these identifiers."""

    def __init__(self, *ids: str) -> None:
        self.ids = ids

    def knows(self, token: WebToken, /) -> bool:
        return token.key_id in self.ids

    def verifies(self, token: WebToken, /) -> bool:
        return self.knows(token)


class Source:
    """A source whose fetches last until `open` is set."""

    def __init__(self) -> None:
        self.keys = Keys("old")
        self.open = threading.Event()
        self.open.set()
        self.error: Exception | None = None
        self.fetches = 0

    def fetch(self) -> VerifyingKeys:
        self.fetches += 1
        keys = self.keys
        self.open.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        return keys


def token(key_id: str) -> WebToken:
    return WebToken("RS256", key_id, b"", b"", {})


class Clock:
    """A clock that counts how often it is read: by each request that has not the key that it needs."""

    def __init__(self) -> None:
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return time.monotonic()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(source: Source, clock: Clock) -> Iterator[SigningKeys]:
    found = SigningKeys("https://login.example/keys", source.fetch, 3600.0, clock)
    yield found
    source.open.set()
    found.stop()


def test_all_tokens_with_a_new_key_wait_for_the_one_fetch(keys: SigningKeys, source: Source, clock: Clock) -> None:
    keys.start()
    eventually(lambda: keys.has_keys, "the first keys are there")
    source.keys = Keys("old", "new")
    source.open.clear()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(keys.of, token("new"))]
        eventually(lambda: source.fetches == 2, "the second fetch")
        asked += [pool.submit(keys.of, token("new")) for _ in range(3)]
        eventually(lambda: clock.reads == 4, "all have arrived")
        source.open.set()
        found = [one.result(PATIENCE) for one in asked]
    assert [one is not None and one.knows(token("new")) for one in found] == [True] * 4
    assert source.fetches == 2
    assert keys.of(token("unknown")) is found[0]
    assert source.fetches == 2, "another unknown key leads to no fetch for now"


def test_without_keys_a_request_waits_only_while_they_are_fetched(keys: SigningKeys, source: Source) -> None:
    source.error = OSError("connection refused")
    keys.start()
    eventually(lambda: keys.error != "", "the first fetch has failed")
    assert keys.of(token("old")) is None
    began = time.monotonic()
    fetches = source.fetches
    assert [keys.of(token("old")) for _ in range(30)] == [None] * 30
    assert time.monotonic() - began < PATIENCE, "each would wait for three seconds"
    assert source.fetches <= fetches + 1


def test_the_keys_from_before_count_until_there_are_new_ones(keys: SigningKeys, source: Source) -> None:
    keys.start()
    eventually(lambda: keys.has_keys, "the first keys are there")
    source.error = OSError("connection refused")
    after = SigningKeys("https://login.example/keys", source.fetch, 60.0, time.monotonic, keys)
    after.start()
    try:
        eventually(lambda: after.error != "", "the first fetch has failed")
        found = after.of(token("old"))
        assert found is not None
        assert found.knows(token("old"))
    finally:
        after.stop()
