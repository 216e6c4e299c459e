"""The metrics as an operator scrapes them."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from devtools.servers import Gunicorn, free_port, get, start_demo, urls
from devtools.traffic import Traffic
from devtools.wait import eventually
from lbflask.telemetry.metrics.exposition import CONTENT_TYPE

pytestmark = pytest.mark.e2e

REQUESTS = 600


def scrape(balancer: Gunicorn) -> dict[tuple[str, ...], float]:
    """Every sample: its name and the values of its labels, in the order of their names, and the number."""
    answer = get(balancer.admin_port, "/metrics")
    assert (answer.status, answer.field("Content-Type")) == (200, CONTENT_TYPE)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def of(found: dict[tuple[str, ...], float], name: str) -> dict[tuple[str, ...], float]:
    return {key[1:]: value for key, value in found.items() if key[0] == f"lbflask_{name}"}


def counted(*balancers: Gunicorn) -> Counter[str]:
    """Requests answered by each backend, over all instances."""
    total: Counter[str] = Counter()
    for balancer in balancers:
        for (backend, code, method, _), value in of(scrape(balancer), "requests_total").items():
            assert (code, method) == ("2xx", "GET")
            total[backend] += int(value)
    return total


@pytest.fixture(scope="module")
def instances(store: str, demos: list[int]) -> Iterator[tuple[Gunicorn, Gunicorn]]:
    with Gunicorn(backends=urls(demos), redis_url=store) as one, Gunicorn(backends=urls(demos), redis_url=store) as two:
        yield one, two


def test_counters_are_what_the_clients_counted_though_a_worker_was_killed(
    instances: tuple[Gunicorn, Gunicorn], demos: list[int]
) -> None:
    before = counted(*instances)
    asked = Traffic([one.port for one in instances], clients=8, total=REQUESTS)
    asked.join()
    eventually(lambda: counted(*instances).total() - before.total() == REQUESTS, "all is counted")
    victim = instances[0].workers()[0]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: victim not in instances[0].workers() and len(instances[0].workers()) == 2, "another worker")
    assert counted(*instances).total() - before.total() == REQUESTS
    more = Traffic([one.port for one in instances], clients=8, total=REQUESTS)
    more.join()
    assert not asked.failures + more.failures
    clients = {f"127.0.0.1:{port}": count for port, count in (asked.shares() + more.shares()).items()}
    eventually(lambda: counted(*instances) - before == clients, "the counters are what the clients counted")
    eventually(lambda: of(scrape(instances[0]), "workers") == {(): 2}, "the dead worker is no ghost")
    # Counters are shared at once; a gauge of another worker is as old as that worker's last round.
    eventually(lambda: of(scrape(instances[0]), "requests_in_flight") == {(): 0}, "nothing is in flight")


def test_all_workers_are_in_one_answer_with_what_the_fleet_knows(instances: tuple[Gunicorn, Gunicorn]) -> None:
    assert get(instances[1].port, "/").status == 200
    opened = "connections_opened_total"
    eventually(lambda: sum(of(scrape(instances[1]), opened).values()) > 0, "a connection is counted")
    found = scrape(instances[1])
    assert of(found, "build_info")
    assert len(of(found, "config_info")) == 1
    assert set(of(found, "backend_serving").values()) == {1}
    backends = {backend for backend, _ in of(found, "backend_up")}
    assert len(backends) == 3
    assert set(of(found, "backend_health")) >= {(backend, "unknown", "default") for backend in backends}
    assert of(found, "checker_leads") == {("default",): 0}
    assert of(found, "workers_degraded")[()] == 0
    assert ("incrby",) in of(found, "store_duration_seconds_count")


def test_only_the_admin_listener_tells(instances: tuple[Gunicorn, Gunicorn]) -> None:
    answer = get(instances[0].port, "/metrics", headers={"Host": f"127.0.0.1:{instances[0].admin_port}"})
    assert answer.body.startswith(b"hello from backend")


@pytest.mark.long
def test_metrics_that_are_off_are_not_there(store: str, demos: list[int]) -> None:
    with Gunicorn(workers=1, backends=urls(demos), redis_url=store, metrics="false") as balancer:
        assert get(balancer.admin_port, "/metrics").status == 404


@pytest.mark.parametrize("worker", ["gthread", "gevent"])
@pytest.mark.sampled(2)
@pytest.mark.long
def test_stock_workers_count_too(store: str, worker: str) -> None:
    port = free_port()
    with (
        start_demo(port),
        Gunicorn("-k", worker, workers=2, backends=urls([port]), redis_url=store, access_log="") as balancer,
    ):
        for _ in range(20):
            assert get(balancer.port).status == 200
        eventually(lambda: counted(balancer).total() == 20, "all is counted")


def test_a_request_whose_head_is_refused_is_counted_and_logged(store: str, demos: list[int]) -> None:
    with Gunicorn(workers=1, backends=urls(demos), redis_url=store) as balancer:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", balancer.port)) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization Basic: 5ecret\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 400 ")
        key = ("", "4xx", "other", "default")
        eventually(lambda: of(scrape(balancer), "requests_total").get(key) == 3, "they are counted")
        line = re.compile(r'127\.0\.0\.1 "- - -" 400 [1-9][0-9]* ')
        eventually(lambda: len(line.findall(balancer.output)) == 3, "they are logged")
        assert "5ecret" not in balancer.output
