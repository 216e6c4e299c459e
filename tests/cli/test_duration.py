from __future__ import annotations

import click
import pytest

from lbflask.cli.duration import Since
from tests.support.changes import property_test

test_any_text_is_a_duration_or_rejected = property_test("duration")


def test_a_moment_is_a_duration_before_now_or_a_time() -> None:
    since = Since()
    assert Since.moment(since.convert("10m", None, None), lambda: 1000.0) == 400.0
    assert Since.moment(since.convert("1970-01-01T00:10:00+00:00", None, None), lambda: 0.0) == 600.0
    for text in ("", "soon", "10x", "2026-13-01", "0001-01-01"):
        with pytest.raises(click.BadParameter, match=r"neither a duration|no duration"):
            since.convert(text, None, None)
