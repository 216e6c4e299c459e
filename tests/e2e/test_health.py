"""GET /health: 200 while a backend can serve; details for operators only; the path is the operator's choice."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest

from tests.support.servers import Gunicorn, free_port, get, start_checker, start_demo, urls
from tests.support.wait import eventually

pytestmark = pytest.mark.e2e


def test_it_follows_the_backends_as_they_die_and_live(store: str) -> None:
    ports = [free_port(), free_port()]
    settings = {"redis_url": store, "backends": urls(ports), "health__interval": 0.5, "namespace": "follows"}
    with ExitStack() as running:
        one, two = (running.enter_context(start_demo(port)) for port in ports)
        running.enter_context(start_checker(**settings))
        balancer = running.enter_context(Gunicorn(workers=1, **settings))

        def serving(count: int) -> bool:
            return balancer.health()[1]["pools"]["default"]["serving"] == count

        def answers() -> list[tuple[int, str]]:
            listeners = (balancer.port, balancer.admin_port)
            return [(code, document["status"]) for code, document in map(balancer.health, listeners)]

        eventually(lambda: set(balancer.healths().values()) == {"up"}, "both are up")
        assert answers() == [(200, "ok")] * 2
        one.kill()
        eventually(lambda: serving(1), "one is down")
        assert answers() == [(200, "ok")] * 2
        two.kill()
        eventually(lambda: serving(0), "both are down")
        assert answers() == [(503, "down")] * 2
        refused = get(balancer.port)
        assert refused.status == 503
        assert refused.field("Retry-After") == "1"
        running.enter_context(start_demo(ports[1]))
        eventually(lambda: serving(1), "one is back")
        assert answers() == [(200, "ok")] * 2
        assert get(balancer.port).body == f"hello from backend {ports[1]}\n".encode()


def test_only_the_admin_listener_tells_addresses(store: str, demos: list[int]) -> None:
    with Gunicorn(redis_url=store, backends=urls(demos), workers=1) as balancer:
        public, admin = get(balancer.port, "/health"), get(balancer.admin_port, "/health")
        assert public.status == admin.status == 200
        assert json.loads(public.body)["pools"] == {"default": {"backends": 3, "serving": 3}}
        assert b"127.0.0.1" not in public.body
        for port in demos:
            assert str(port).encode() not in public.body
            assert f"http://127.0.0.1:{port}".encode() in admin.body
        assert public.field("Cache-Control") == "no-store"


def test_a_moved_path_leaves_the_old_one_to_the_backends(store: str, demos: list[int]) -> None:
    with Gunicorn(redis_url=store, backends=urls(demos), workers=1, health_path="/-/alive") as balancer:
        assert json.loads(get(balancer.port, "/-/alive").body)["status"] == "ok"
        assert json.loads(get(balancer.port, "/-/alive?from=probe").body)["status"] == "ok"
        assert get(balancer.port, "/health").body.startswith(b"hello from backend")
        assert balancer.health()[0] == 200, "the admin listener keeps /health"


def test_an_empty_path_turns_it_off_for_the_public_only(store: str, demos: list[int]) -> None:
    with Gunicorn(redis_url=store, backends=urls(demos), workers=1, health_path="") as balancer:
        assert get(balancer.port, "/health").body.startswith(b"hello from backend")
        assert balancer.health()[0] == 200
