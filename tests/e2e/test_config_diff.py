"""`lbflask config diff` between two instances of a real fleet: by what they publish in the store."""

from __future__ import annotations

import json

import pytest

from devtools.cluster import Cluster
from devtools.servers import Gunicorn
from devtools.wait import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]


def test_an_instance_that_was_missed_is_named_with_the_command_that_shows_its_settings() -> None:
    with (
        Cluster(instances=1, workers=1, backends=1, instance="web1") as cluster,
        Gunicorn(
            workers=1,
            backends=",".join(cluster.urls),
            redis_url=cluster.redis_url,
            instance="web2",
            timeouts__connect=9,
            sticky__cookie="LB", sticky__secrets="a-secret-of-at-least-sixteen-signs",
        ),
    ):  # fmt: skip
        command = "`lbflask config diff --instance web2` names what differs"
        eventually(lambda: command in cluster.command("doctor", code=None), "the doctor has the command")
        compared = cluster.command("config", "diff", "--instance", "web2", "--json", code=1)
        found = {one["key"]: one["values"] for one in json.loads(compared)["differences"]}
        assert found["timeouts.connect"] == [3.0, 9.0]
        assert found["sticky.secrets"][1] == ["***"]
        assert "a-secret" not in compared
