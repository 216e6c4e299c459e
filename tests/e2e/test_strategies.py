"""Each strategy on real gunicorns, which know each other only by the store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from devtools.raw_client import RawClient
from devtools.servers import Gunicorn, free_port, get, start_demo, urls
from devtools.wait import eventually

pytestmark = pytest.mark.e2e


@contextmanager
def two_instances(store: str, demos: list[int], **settings: object) -> Iterator[tuple[Gunicorn, Gunicorn]]:
    """Two gunicorns of one worker each."""
    shared = {"redis_url": store, "backends": urls(demos), **settings}
    with Gunicorn(workers=1, **shared) as one, Gunicorn(workers=1, **shared) as two:
        yield one, two
        one.assert_no_traceback()
        two.assert_no_traceback()


def served_by(balancer: Gunicorn, path: str = "/", **headers: str) -> int:
    answer = get(balancer.port, path, headers=headers)
    assert answer.status == 200
    return int(answer.body.split()[-1])


@pytest.mark.parametrize("strategy", ["least_connections", "random_two"])
@pytest.mark.sampled(2)
def test_what_one_instance_has_in_flight_keeps_the_other_away(store: str, demos: list[int], strategy: str) -> None:
    settings = {"strategy": strategy, "namespace": strategy}
    with two_instances(store, demos[:2], **settings) as (one, two), RawClient(one.port) as slow:
        slow.send(b"GET /slow?s=60 HTTP/1.1\r\nHost: a\r\n\r\n")

        def busy() -> list[int]:
            states = two.health()[1]["pools"]["default"]["states"]
            return [port for port in demos[:2] if states[f"127.0.0.1:{port}"]["in_flight"]]

        (held,) = eventually(busy, "the other instance knows of the slow request")
        (idle,) = {*demos[:2]} - {held}
        assert {served_by(two) for _ in range(20)} == {idle}


def test_a_key_has_the_same_backend_at_every_instance(store: str, demos: list[int]) -> None:
    settings = {"strategy": "consistent_hash", "namespace": "hash", "hash__key": "header:X-Tenant"}
    with two_instances(store, demos, hash__load_factor=3, **settings) as instances:
        homes = [
            {served_by(instance, **{"X-Tenant": f"t{number}"}) for instance in instances for _ in range(2)}
            for number in range(20)
        ]
    assert {len(home) for home in homes} == {1}
    assert set().union(*homes) == set(demos)


def test_the_first_serves_then_the_second_and_at_last_the_backup(store: str, tmp_path: Path) -> None:
    ports = sorted((free_port() for _ in range(3)), reverse=True)
    backends = ", ".join(
        f'{{ url = "http://127.0.0.1:{port}", backup = {json.dumps(port == ports[0])} }}' for port in ports
    )
    path = tmp_path / "lbflask.toml"
    path.write_text(f'strategy = "first"\nnamespace = "first"\nredis_url = "{store}"\nbackends = [{backends}]\n')
    with ExitStack() as running:
        demos = {port: running.enter_context(start_demo(port)) for port in ports}
        balancer = running.enter_context(Gunicorn(workers=1, config=path))
        for port in (*ports[1:], ports[0]):
            assert {served_by(balancer) for _ in range(10)} == {port}
            demos[port].kill()
        assert get(balancer.port).status == 502
        balancer.assert_no_traceback()
