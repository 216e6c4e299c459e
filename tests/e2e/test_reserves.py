"""`lbflask doctor` names what an instance runs out of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devtools.cluster import Cluster
from devtools.wait import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
def test_lines_that_a_full_disk_does_not_take_are_named_with_their_number() -> None:
    with Cluster(instances=1, workers=2, backends=1, access_log="/dev/full") as cluster:
        assert cluster.ask(20) == [200] * 20

        def lost() -> bool:
            found = re.search(r"(\d+) lines of the access log were lost in the last minute: (.*)", _doctor(cluster))
            return found is not None and (int(found[1]), found[2]) == (20, "No space left on device (/dev/full)")

        eventually(lost, "all lines are named")
        assert "`df -h /dev`" in _doctor(cluster)


def _doctor(cluster: Cluster) -> str:
    """The output, whatever it finds."""
    return cluster.command("doctor", code=None)
