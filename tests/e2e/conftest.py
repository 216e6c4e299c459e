"""What tests share: a store for each module, and three demo backends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devtools.ports import free_port, reserved
from devtools.servers import listens, start_demo, valkey

#: The fixed ports of `lbflask demo`.
DEMO_PORTS = (8080, 8081, 8082, 8083, 8090)


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The URL of a real Valkey that only this module uses."""
    with valkey() as url:
        yield url


@pytest.fixture
def demo_ports() -> Iterator[None]:
    """Reserves the ports of `lbflask demo` for a test. Skips it if the machine uses one of them."""
    with reserved(*DEMO_PORTS):
        taken = [port for port in DEMO_PORTS if listens(port)]
        if taken:
            pytest.skip(f"ports of the demo are in use: {taken}")
        yield


@pytest.fixture(scope="session")
def demos() -> Iterator[list[int]]:
    """The ports of three demo backends, which keep nothing of what a test does."""
    ports = [free_port() for _ in range(3)]
    with start_demo(*ports):
        yield ports
