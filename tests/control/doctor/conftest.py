from __future__ import annotations

import pytest

from tests.control.servers import UP, Counter


@pytest.fixture
def counter() -> Counter:
    """An instance whose checks find both backends of its pool up."""
    counter = Counter()
    counter.check(**{"10.0.0.1_80": UP, "two": UP})
    return counter
