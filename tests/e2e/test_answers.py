"""What clients got, as the balancer counts it and as the clients did: the same numbers, whatever the cause."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from devtools.ports import free_port
from devtools.raw_client import RawClient
from devtools.servers import Gunicorn, black_hole, get, urls
from devtools.wait import PATIENCE, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]

FILE = """
[pools.web]
backends = {web}

[pools.dead]
backends = ["http://127.0.0.1:{dead}"]

[pools.silent]
backends = ["http://127.0.0.1:{silent}"]

[pools.none]
backends = [{{ url = "http://127.0.0.1:{dead}", name = "off" }}]

[rate_limits.each]
rate = "1/min"
burst = 40

[[routes]]
name = "limited"
match = {{ path = "/limited" }}
pool = "web"
strip_prefix = true
rate_limit = "each"

[[routes]]
name = "web"
match = {{ path = "/web" }}
pool = "web"
strip_prefix = true

[[routes]]
name = "dead"
match = {{ path = "/dead" }}
pool = "dead"

[[routes]]
name = "silent"
match = {{ path = "/silent" }}
pool = "silent"

[[routes]]
name = "none"
match = {{ path = "/none" }}
pool = "none"

[[routes]]
name = "closed"
match = {{ path = "/closed" }}
respond = {{ status = 410 }}
"""

#: The cause and the route of what the paths are answered with, by path and status: classes are those of backends.
EXPECTED = {
    ("/web/", 200): ("2xx", "backend", "web"),
    ("/web/status/404", 404): ("4xx", "backend", "web"),
    ("/web/status/503", 503): ("5xx", "backend", "web"),
    ("/limited/", 200): ("2xx", "backend", "limited"),
    ("/limited/", 429): ("429", "rate_limit", "limited"),
    ("/dead/", 502): ("502", "connection_failed", "dead"),
    ("/none/", 502): ("502", "connection_failed", "none"),  # until the worker has learned that it is off
    ("/none/", 503): ("503", "no_backend", "none"),
    ("/closed/", 410): ("410", "direct_response", "closed"),
    ("/nowhere", 404): ("404", "no_route", ""),
    ("hang up", 499): ("499", "client_left", "silent"),
    ("refused head", 400): ("400", "bad_request", ""),
}
PATHS = sorted({path for path, _ in EXPECTED if path.startswith("/")})
#: Clients of each instance, and the rounds of each client in a load; a round has each path once.
CLIENTS, ROUNDS = 3, 20


class Load:
    """Clients that count by themselves what they get."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.counted: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(port,)) for port in ports for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _run(self, port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        mine: Counter[tuple[str, int]] = Counter()
        for _ in range(ROUNDS):
            for path in PATHS:
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                mine[path, response.status] += 1
            with RawClient(port) as client:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\nnot a field\r\n\r\n")
                mine["refused head", client.answer().status] += 1
            with RawClient(port) as client:
                client.send(b"GET /silent/ HTTP/1.1\r\nHost: a\r\n\r\n")
            mine["hang up", 499] += 1
        connection.close()
        with self._lock:
            self.counted += mine


def answers(*balancers: Gunicorn) -> Counter[tuple[str, str, str]]:
    """Answers by status, cause and route, over all instances."""
    total: Counter[tuple[str, str, str]] = Counter()
    for balancer in balancers:
        for family in text_string_to_metric_families(get(balancer.admin_port, "/metrics").body.decode()):
            for sample in family.samples:
                if sample.name == "lbflask_responses_total":
                    labels = sample.labels
                    total[labels["status"], labels["cause"], labels["route"]] += int(sample.value)
    return total


def total(balancers: Sequence[Gunicorn], metric: str, **labels: str) -> int:
    """A metric over all instances."""
    samples = (
        sample
        for balancer in balancers
        for family in text_string_to_metric_families(get(balancer.admin_port, "/metrics").body.decode())
        for sample in family.samples
    )
    return int(sum(one.value for one in samples if (one.name, one.labels) == (f"lbflask_{metric}", labels)))


@contextmanager
def fleet(store: str, demos: Sequence[int], directory: Path) -> Iterator[tuple[Gunicorn, Gunicorn]]:
    silent, file = free_port(), directory / "lbflask.toml"
    file.write_text(FILE.format(web=urls(demos).split(","), dead=free_port(), silent=silent).replace("'", '"'))
    settings = {"config": file, "redis_url": store}
    with black_hole(silent), Gunicorn(**settings) as one, Gunicorn(**settings) as two:
        yield one, two


def test_answers_by_cause_are_those_that_the_clients_counted_though_a_worker_was_replaced(
    store: str, demos: list[int], tmp_path: Path
) -> None:
    with fleet(store, demos, tmp_path) as instances:
        ports = [one.port for one in instances]
        off, json_body = "/api/v1/pools/none/backends/off/off", {"Content-Type": "application/json"}
        assert get(instances[0].admin_port, off, "POST", json_body, b'{"force": true}').status == 200
        counted: Counter[tuple[str, int]] = Counter()

        def has_none(port: int) -> bool:
            status = get(port, "/none/").status
            counted["/none/", status] += 1
            return status == 503

        for port in ports:
            for _ in range(10):  # each worker follows by itself
                eventually(partial(has_none, port), "no backend is left")
        counted += Load(ports).counted
        replaced = instances[0].workers()[0]
        os.kill(replaced, signal.SIGTERM)
        instances[0].await_workers(without=[replaced])
        counted += Load(ports).counted
        assert EXPECTED.keys() - counted.keys() == {("/none/", 502)} - counted.keys()
        clients: Counter[tuple[str, str, str]] = Counter()
        for (path, status), count in counted.items():
            clients[EXPECTED[path, status]] += count
        eventually(lambda: answers(*instances).total() >= clients.total(), "all are counted")
        assert answers(*instances) == clients
        assert total(instances, "rate_limited_total", limit="each") == counted["/limited/", 429]
        for one in instances:
            one.assert_no_traceback()


def test_status_of_any_instance_shows_what_the_clients_of_all_got(store: str, demos: list[int], tmp_path: Path) -> None:
    with fleet(store, demos, tmp_path) as instances:
        for _ in range(30):
            for one in instances:
                assert get(one.port, "/dead/").status == 502

        def shown(one: Gunicorn) -> float:
            document = http.client.HTTPConnection("127.0.0.1", one.admin_port, timeout=PATIENCE)
            document.request("GET", "/api/v1/fleet")
            causes = json.loads(document.getresponse().read())["answers"]["causes"]
            document.close()
            return sum(
                cause["per_second"]
                for cause in causes
                if (cause["status"], cause["cause"], cause["name"]) == ("502", "connection_failed", "dead")
            )

        for one in instances:
            eventually(lambda one=one: shown(one) > 2.0, "the sum of both instances")


def test_the_masters_of_an_upgrade_count_together(store: str, demos: list[int]) -> None:
    with Gunicorn(backends=urls(demos), redis_url=store) as balancer:
        for _ in range(20):
            assert get(balancer.port).status == 200
        eventually(lambda: answers(balancer) == {("2xx", "backend", ""): 20}, "all are counted")
        old = balancer.upgrade()
        try:
            for _ in range(20):
                assert get(balancer.port).status == 200
            eventually(lambda: answers(balancer).total() == 40, "all are counted")
            for _ in range(20):  # whichever master's worker answers
                assert answers(balancer) == {("2xx", "backend", ""): 40}
                assert total([balancer], "workers") == 4
            os.kill(old, signal.SIGTERM)
            assert balancer.wait() == 0
            eventually(lambda: total([balancer], "workers") == 2, "the old workers have ended")
            assert answers(balancer) == {("2xx", "backend", ""): 40}
        finally:
            balancer.signal(signal.SIGTERM)
        eventually(lambda: not Path(f"/proc/{balancer.master}").exists(), "it ends")
