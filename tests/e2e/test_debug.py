"""Tracing of requests: one instance, all of its workers, for a bounded time."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from devtools.servers import Gunicorn, free_port, get, start_demo, urls
from devtools.wait import eventually
from tests.cli.servers import piped

pytestmark = pytest.mark.e2e

FORWARDED = ["parsed", "routed", "planned", "attempt", "connection", "sent", "head", "body", "finished"]
#: Enough requests that each of two workers gets some.
REQUESTS = 40


def steps(instance: Gunicorn) -> dict[str, list[str]]:
    """The steps in the error log by the id of the request, in order."""
    found: dict[str, list[str]] = {}
    for id_, step in re.findall(r"id=(\S+) step=(\S+)", instance.output):
        found.setdefault(id_, []).append(step)
    return found


def pids(instance: Gunicorn) -> set[str]:
    return set(re.findall(r"\[(\d+)\] \[DEBUG\] id=", instance.output))


def debug(instance: Gunicorn, *arguments: str) -> str:
    code, shown = piped("debug", *arguments, "--url", f"http://127.0.0.1:{instance.admin_port}")
    assert code == 0
    return shown


def ids(log: Path) -> list[str]:
    return [json.loads(line)["id"] for line in log.read_text().splitlines()]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("worker", [(), ("-k", "gthread")], ids=["own", "gthread"])
def test_one_instance_logs_the_steps_of_each_request_until_it_is_switched_off(
    redis_url: str, tmp_path: Path, worker: tuple[str, ...]
) -> None:
    log = tmp_path / "access.log"
    ports = [free_port(), free_port()]
    shared = {"backends": urls(ports), "redis_url": redis_url}
    with (
        start_demo(ports[0]),  # the other one refuses connections
        Gunicorn(*worker, access_log=log, access_log_format="json", **shared) as instance,
        Gunicorn(**shared) as other,
    ):
        assert get(instance.port, "/before").status == 200
        assert debug(instance, "status").endswith(": off\n")
        assert ": on, for 60 s" in debug(instance, "on", "--for", "1m")
        eventually(lambda: instance.output.count("the steps of requests are logged\n") == 2, "both workers trace")
        for number in range(REQUESTS):
            assert get(instance.port, f"/traced?token=5ecret&n={number}").status == 200
            assert get(other.port, "/elsewhere").status == 200
        eventually(lambda: len(ids(log)) == REQUESTS + 1, "all are in the access log")
        before, *traced = ids(log)
        eventually(lambda: all(steps(instance).get(id_, [""])[-1] == "finished" for id_ in traced), "all have finished")
        found = steps(instance)
        assert before not in found
        for id_ in traced:
            assert [step for step in found[id_] if step in FORWARDED][:3] == FORWARDED[:3]
            assert found[id_][-5:] == FORWARDED[-5:]
        assert any("failed" in found[id_] for id_ in traced)
        assert pids(instance) == set(map(str, instance.workers()))
        assert "5ecret" not in instance.output
        assert debug(instance, "off").endswith(": off\n")
        eventually(lambda: instance.output.count("the steps of requests are logged no more") == 2, "both have ended")
        assert get(instance.port, "/after").status == 200
        assert set(steps(instance)) == set(traced)
        assert steps(other) == {}
        assert re.search(r"debug on for 60 s at \S+", instance.output)


@pytest.mark.thorough
def test_it_ends_by_itself(redis_url: str) -> None:
    port = free_port()
    with start_demo(port), Gunicorn(workers=1, backends=urls([port]), redis_url=redis_url) as instance:
        debug(instance, "on", "--for", "1s")
        eventually(lambda: "the steps of requests are logged no more" in instance.output, "the time is over")
        assert get(instance.port, "/").status == 200
        assert debug(instance, "status").endswith(": off\n")


@pytest.mark.thorough
def test_the_variable_traces_from_the_start(redis_url: str) -> None:
    port = free_port()
    with start_demo(port), Gunicorn(workers=1, backends=urls([port]), redis_url=redis_url, debug=1) as instance:
        assert get(instance.port, "/").status == 200
        eventually(lambda: any(found == FORWARDED for found in steps(instance).values()), "all steps are logged")
        assert ": on, until it is switched off" in debug(instance, "status")
