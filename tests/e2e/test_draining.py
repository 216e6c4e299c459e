"""Health that turns 503 while requests are served: before a stop, and for as long as an operator wants."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from devtools.cluster import Cluster
from devtools.servers import Gunicorn, get, listens, urls
from devtools.wait import eventually
from lbflask.cli.context import NOT_FOUND
from tests.e2e.test_stock_workers import WORKERS

pytestmark = [pytest.mark.e2e, pytest.mark.early]

#: Seconds that no test lasts.
NEVER = 600
#: Requests in a row over new connections, of which each worker gets some.
ROUNDS = 10


def health(balancer: Gunicorn) -> set[tuple[int, str]]:
    """Status codes and statuses of /health on both listeners, of all workers."""
    answers = [balancer.health(port) for port in (balancer.port, balancer.admin_port) for _ in range(ROUNDS)]
    return {(code, document["status"]) for code, document in answers}


def assert_serves(balancer: Gunicorn) -> None:
    assert {get(port, "/live").status for port in (balancer.port, balancer.admin_port)} == {200}
    assert {get(balancer.port).status for _ in range(ROUNDS)} == {200}


def stopping(balancer: Gunicorn) -> list[bool]:
    """Of each instance in the store, whether it is in the delay before its stop."""
    found = json.loads(get(balancer.admin_port, "/api/v1/instances").body)["instances"]
    return [one["stopping"] for one in found]


class TestShutdownDelay:
    @pytest.fixture(params=WORKERS)
    def balancer(self, request: pytest.FixtureRequest, store: str, demos: list[int]) -> Iterator[Gunicorn]:
        settings = {"redis_url": store, "namespace": request.param, "backends": urls(demos)}
        with Gunicorn(*WORKERS[request.param], timeouts__shutdown_delay=NEVER, **settings) as balancer:
            yield balancer
            balancer.assert_no_traceback()

    @pytest.mark.sampled(4, 2)
    def test_sigterm_turns_health_at_all_workers_while_requests_are_served(self, balancer: Gunicorn) -> None:
        assert health(balancer) == {(200, "ok")}
        eventually(lambda: stopping(balancer) == [False], "the instance serves")
        balancer.signal(signal.SIGTERM)
        eventually(lambda: health(balancer) == {(503, "draining")}, "all workers drain")
        eventually(lambda: stopping(balancer) == [True], "the fleet shows it")
        balancer.signal(signal.SIGTERM)  # another one changes nothing
        assert_serves(balancer)
        assert balancer.health()[1]["draining"] == {"shutdown": True, "who": "", "until": None}
        assert "draining" not in balancer.health(balancer.port)[1]

        before = balancer.workers()
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: len(set(balancer.workers()) - {before[0]}) == 2, "a worker replaces the killed one")
        assert health(balancer) == {(503, "draining")}
        assert_serves(balancer)

        refused = get(balancer.admin_port, "/api/v1/reload", "POST")
        assert (refused.status, b"about to end" in refused.body) == (503, True)
        balancer.signal(signal.SIGHUP)
        eventually(lambda: "SIGHUP is ignored" in balancer.output, "a reload is refused")

        balancer.signal(signal.SIGINT)  # ends the delay
        assert balancer.wait() == 0

    @pytest.mark.sampled(4)
    def test_sigint_is_not_delayed(self, balancer: Gunicorn) -> None:
        balancer.signal(signal.SIGINT)
        assert balancer.wait() == 0
        assert "/health responds 503" not in balancer.output


@pytest.mark.thorough
def test_the_stop_begins_when_the_delay_is_over(store: str, demos: list[int]) -> None:
    settings = {"redis_url": store, "backends": urls(demos), "timeouts__shutdown_delay": 0.5}
    with Gunicorn(**settings) as balancer:
        balancer.signal(signal.SIGTERM)
        assert balancer.wait() == 0
        assert "requests are accepted for 0.5 s more" in balancer.output
        balancer.assert_no_traceback()


@pytest.mark.thorough
def test_a_quick_shutdown_is_not_delayed(store: str, demos: list[int]) -> None:
    with Gunicorn(redis_url=store, backends=urls(demos), timeouts__shutdown_delay=NEVER) as balancer:
        balancer.signal(signal.SIGQUIT)
        assert balancer.wait() == 0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(instances=2, workers=2, backends=2) as cluster:
        eventually(lambda: len(named(cluster)) == 2, "both instances have reported")
        yield cluster


def named(cluster: Cluster) -> dict[str, str]:
    """The states of the instances by name, by the API of the first one."""
    found = json.loads(cluster.command("instance", "status", "--json"))["instances"]
    return {one["name"]: "serves" if one["drain"] is None else "drains" for one in found if one["version"]}


def name(balancer: Gunicorn) -> str:
    return f"{os.uname().nodename}/127.0.0.1:{balancer.port}"


def test_one_instance_drains_and_serves_and_another_ends_it(cluster: Cluster) -> None:
    one, two = cluster.balancers
    said = cluster.command("instance", "drain", name(two), "--for", "1h")
    assert name(two) in said
    eventually(lambda: health(two) == {(503, "draining")}, "all of its workers drain")
    assert_serves(two)
    drain = two.health()[1]["draining"]
    assert (drain["shutdown"], bool(drain["who"]), drain["until"] > 0) == (False, True, True)
    assert health(one) == {(200, "ok")}
    assert named(cluster) == {name(one): "serves", name(two): "drains"}
    assert f"instance {name(two)}" in cluster.command("doctor", code=1)
    assert "drained until" in cluster.command("status")

    assert "is not drained\n" in cluster.command("instance", "undrain", name(two), instance=1)
    eventually(lambda: health(two) == {(200, "ok")}, "none of its workers drains")
    assert "as before" in cluster.command("instance", "undrain", name(two))
    events = [event["what"] for event in json.loads(cluster.api("/events").body)["events"]]
    assert events[:2] == ["instance_undrain", "instance_drain"]


def test_a_name_that_no_instance_has_is_an_error(cluster: Cluster) -> None:
    assert "no instance 'elsewhere'" in cluster.command("instance", "drain", "elsewhere", code=NOT_FOUND)
    assert cluster.api("/instances/drain", "POST", body={"instance": "elsewhere"}).status == 404
    said = cluster.command("instance", "drain", os.uname().nodename, code=2)
    assert all(name(balancer) in said for balancer in cluster.balancers)


@pytest.mark.long
def test_a_restart_does_not_end_it(cluster: Cluster) -> None:
    with ExitStack() as running:
        three = Gunicorn(workers=1, **cluster.settings)
        with three:
            eventually(lambda: name(three) in named(cluster), "it has reported")
            cluster.command("instance", "drain", name(three))
            assert three.stop() == 0
        found = json.loads(cluster.command("instance", "status", name(three), "--json"))["instances"]
        assert [(one["workers"], one["drain"] is None) for one in found] == [([], False)]
        settings = {**cluster.settings, "bind": f"127.0.0.1:{three.port}"}
        again = running.enter_context(Gunicorn(workers=1, **settings))
        again.port = three.port
        assert listens(again.port)
        assert health(again) == {(503, "draining")}
        assert_serves(again)
        cluster.command("instance", "undrain", name(again))
        eventually(lambda: health(again) == {(200, "ok")}, "it has returned")
