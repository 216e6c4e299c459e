"""The checker's parts as they are joined."""

from __future__ import annotations

import subprocess
import sys

import pytest

from devtools.wait import PATIENCE
from lbflask.wiring.checker_runtime import MAX_PROBES
from lbflask.wiring.descriptor_limit import OTHER_FILES


@pytest.mark.parametrize(
    ("soft", "hard", "room"),
    [
        (100, 300, 300 - OTHER_FILES),
        (100, MAX_PROBES + OTHER_FILES, MAX_PROBES),
        (OTHER_FILES, OTHER_FILES, 1),
        (MAX_PROBES + 500, MAX_PROBES + 500, MAX_PROBES),
    ],
)
def test_there_are_as_many_probes_as_the_system_lets_there_be_files(soft: int, hard: int, room: int) -> None:
    code = (
        "import resource; from lbflask.wiring.checker_runtime import MAX_PROBES, room_for; "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); print(room_for(MAX_PROBES))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.split() == [str(room)]
