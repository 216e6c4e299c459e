"""Fixtures of the tests of the data plane."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.proxy.test_dispatcher import Street


@pytest.fixture
def street() -> Iterator[Street]:
    """Real backends that play a script, and a balancer before them."""
    street = Street()
    with street.stack:
        yield street
