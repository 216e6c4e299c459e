"""What a module's tests share: a store of its own, three demo backends, and a checker where it is asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devtools.servers import free_port, start_demo, valkey


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The URL of a real Valkey that only this module uses."""
    with valkey() as url:
        yield url


@pytest.fixture(scope="module")
def demos() -> Iterator[list[int]]:
    """The ports of three demo backends."""
    ports = [free_port() for _ in range(3)]
    with start_demo(*ports):
        yield ports
