"""The declarations of metrics keep the conventions of Prometheus."""

from __future__ import annotations

import re

import pytest

from lbflask.telemetry.metrics.definitions import ALL, Metric


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"[a-z_]+", metric.name)
    assert not metric.name.endswith("_total")
    assert metric.help.endswith(".")
    assert (metric.kind == "histogram") == bool(metric.buckets)
