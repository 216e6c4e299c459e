"""The least rate of a body: an average of the time for which the client was waited for."""

from __future__ import annotations

import pytest

from lbflask.server.worker.least_rate import LeastRate


def test_the_first_seconds_are_free() -> None:
    rate = LeastRate(100, 5)
    assert rate.left() == 5
    rate.add(1, 3)
    assert rate.left() == 2
    rate.add(1, 2)
    assert rate.left() == 0


def test_behind_them_the_client_may_be_waited_for_as_long_as_its_bytes_allow() -> None:
    rate = LeastRate(100, 5)
    rate.add(1000, 4)
    assert rate.left() == pytest.approx(6)
    rate.add(100, 7)
    assert rate.left() == 0
    rate.add(1, 1)
    assert rate.left() == 0
    assert repr(rate) == "LeastRate(100 bytes/s, 1101 in 12.0 s)"


def test_time_in_which_nobody_waits_does_not_count() -> None:
    rate = LeastRate(100, 5)
    for _ in range(1000):
        rate.add(1, 0.0)
    assert rate.left() == 10
