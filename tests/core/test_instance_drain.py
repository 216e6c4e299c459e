from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

from lbflask.core.instance_drain import DEFAULT_DURATION, MAX_DURATION

STOPPING = Path(__file__).resolve().parents[2] / "docs" / "stopping.md"


def test_a_drain_ends_by_itself_after_the_documented_days() -> None:
    documented = re.search(r"(\d+) days unless given, (\d+) at most", STOPPING.read_text("utf-8"))
    assert documented is not None
    default, most = (timedelta(days=int(days)).total_seconds() for days in documented.groups())
    assert (default, most) == (DEFAULT_DURATION, MAX_DURATION)
