"""How many things may be open at once, in a process of its own for each limit."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from devtools.wait import PATIENCE
from lbflask.wiring.descriptor_limit import OTHER_FILES


@pytest.mark.parametrize(
    ("soft", "hard", "most", "each", "room", "after"),
    [
        (100, 300, 1000, 1, 300 - OTHER_FILES, 300),
        (100, 300, 1000, 2, (300 - OTHER_FILES) // 2, 300),
        (100, 300, 50, 2, 50, 100 + OTHER_FILES),
        (200, 300, 50, 2, 50, 200),
        (OTHER_FILES, OTHER_FILES, 50, 2, 1, OTHER_FILES),
    ],
)
def test_the_soft_limit_is_raised_to_what_is_needed_and_room_is_what_it_leaves(
    soft: int, hard: int, most: int, each: int, room: int, after: int
) -> None:
    code = (
        "import resource; from lbflask.wiring.descriptor_limit import limit, room_for; "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); print(room_for({most}, {each}), limit())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.split() == [str(room), str(after)]
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > OTHER_FILES
