"""Bounds and rate limits on real gunicorns, which know each other only by the store."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from devtools.raw_client import RawClient
from devtools.servers import Gunicorn, HttpResponse, Process, free_port, get, listens
from devtools.wait import PATIENCE, eventually
from lbflask.store.keys import PoolKeys

pytestmark = pytest.mark.e2e

MOST = 3
BURST = 5
Instances = tuple[Gunicorn, Gunicorn]


@pytest.fixture(scope="module")
def backend() -> Iterator[int]:
    """A backend that counts how many requests it has at once."""
    port = free_port()
    with Process([sys.executable, "-m", "benchmarks.backends.counting", str(port), "0.02"]) as process:
        process.await_start(lambda: listens(port), "the backend listens")
        yield port


@pytest.fixture(scope="module")
def instances(store: str, backend: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instances]:
    """Two gunicorns of one worker each."""
    path: Path = tmp_path_factory.mktemp("limits") / "lbflask.toml"
    path.write_text(
        f'namespace = "limits"\nredis_url = "{store}"\n'
        f'backends = [{{ url = "http://127.0.0.1:{backend}", max_connections = {MOST} }}]\n'
        f"[queue]\ntimeout = 20\n"
        f'[rate_limits.keys]\nrate = "1/h"\nburst = {BURST}\nkey = "header:X-Key"\neverywhere = true\n'
    )
    with Gunicorn(workers=1, config=path) as one, Gunicorn(workers=1, config=path) as two:
        yield one, two
        one.assert_no_traceback()
        two.assert_no_traceback()


def ask(instances: Instances, number: int, key: str) -> HttpResponse:
    return get(instances[number % 2].port, headers={"X-Key": key})


def test_the_backend_never_sees_more_than_its_bound_and_all_are_served(instances: Instances, backend: int) -> None:
    get(backend, "/-/forget")
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda number: ask(instances, number, f"load-{number}"), range(60)))
    assert Counter(answer.status for answer in answers) == {200: 60}
    seen = json.loads(get(backend, "/-/seen").body)
    assert seen["served"] == 60
    assert seen["most"] <= MOST


def test_the_fleet_lets_exactly_the_burst_pass(instances: Instances) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: ask(instances, number, "one key"), range(16)))
    assert Counter(answer.status for answer in answers) == {200: BURST, 429: 16 - BURST}
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.field("RateLimit-Policy") == '"keys";q=1;w=3600'
    assert (refused.field("RateLimit") or "").startswith('"keys";r=0;t=3')
    assert 3500 < int(refused.field("Retry-After") or 0) <= 3600
    assert "cut=\"more requests than the limit 'keys' lets pass\"" in eventually(
        lambda: "".join(one.output for one in instances if " 429 " in one.output), "the access log tells of it"
    )


def test_a_tunnel_has_a_slot_until_it_ends(instances: Instances, backend: int, store: str) -> None:
    with ExitStack() as tunnels, ThreadPoolExecutor(1) as threads:
        for number in range(MOST):
            client = tunnels.enter_context(RawClient(instances[number % 2].port))
            client.send(
                b"GET /hold HTTP/1.1\r\nHost: a\r\nX-Key: tunnel-%d\r\nConnection: Upgrade\r\nUpgrade: any\r\n\r\n"
                % number
            )
            assert b" 101 " in client.read_until(b"\r\n\r\n")
        waiting = threads.submit(ask, instances, 1, "after the tunnels")
        with redis.Redis.from_url(store) as facts:
            records = PoolKeys("limits", "default").slots
            eventually(
                lambda: any(b" 1 " in record for record in facts.hvals(records)), "the fleet knows that it waits"
            )
        assert json.loads(get(backend, "/-/seen").body)["now"] == MOST
        tunnels.close()
        assert waiting.result(PATIENCE).status == 200


def test_a_killed_worker_takes_no_slot_along(instances: Instances, backend: int) -> None:
    (victim,) = instances[0].workers()
    with ExitStack() as held, ThreadPoolExecutor(1) as threads:
        for number in range(MOST):
            client = held.enter_context(RawClient(instances[0].port))
            client.send(b"GET /hold HTTP/1.1\r\nHost: a\r\nX-Key: held-%d\r\n\r\n" % number)
        eventually(lambda: json.loads(get(backend, "/-/seen").body)["now"] == MOST, "all slots are taken")
        waiting = threads.submit(ask, instances, 1, "waiting")
        os.kill(victim, signal.SIGKILL)
        assert waiting.result(PATIENCE).status == 200
