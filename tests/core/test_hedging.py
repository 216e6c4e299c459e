"""The delay of a second attempt."""

from __future__ import annotations

from math import inf

import pytest

from lbflask.core.hedging import LEAST_DELAY, LEAST_RESPONSES, hedge_delay


@pytest.mark.parametrize(
    ("latency", "responses", "delay"),
    [
        (None, 0, inf),
        (0.2, LEAST_RESPONSES - 1, inf),
        (0.2, LEAST_RESPONSES, 0.2),
        (0.001, 1000, LEAST_DELAY),
    ],
)
def test_the_delay_is_the_usual_latency_once_it_is_known(latency: float | None, responses: int, delay: float) -> None:
    assert hedge_delay(latency, responses) == delay
