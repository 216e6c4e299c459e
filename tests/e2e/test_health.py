"""GET /health: 200 while a backend can serve; details for operators only; the path is the operator's choice."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest

from devtools.servers import Gunicorn, free_port, get, start_checker, start_demo, urls
from devtools.wait import eventually

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


@pytest.mark.long
def test_a_moved_path_leaves_the_old_one_to_the_backends(store: str, demos: list[int]) -> None:
    with Gunicorn(redis_url=store, backends=urls(demos), workers=1, health_path="/-/alive") as balancer:
        assert json.loads(get(balancer.port, "/-/alive").body)["status"] == "ok"
        assert json.loads(get(balancer.port, "/-/alive?from=probe").body)["status"] == "ok"
        assert get(balancer.port, "/health").body.startswith(b"hello from backend")
        assert balancer.health()[0] == 200, "the admin listener keeps /health"


@pytest.mark.long
def test_an_empty_path_turns_it_off_for_the_public_only(store: str, demos: list[int]) -> None:
    with Gunicorn(redis_url=store, backends=urls(demos), workers=1, health_path="") as balancer:
        assert get(balancer.port, "/health").body.startswith(b"hello from backend")
        assert balancer.health()[0] == 200


class TestLiveness:
    """GET /live: 200 while the process serves, whatever the backends and the store."""

    @pytest.mark.long
    def test_it_is_200_when_all_backends_are_down(self, store: str) -> None:
        settings = {"redis_url": store, "namespace": "down", "backends": urls([free_port()]), "health__interval": 0.3}
        with Gunicorn(workers=1, **settings) as balancer, start_checker(**settings):
            eventually(lambda: balancer.health()[0] == 503, "its only backend is down")
            self.alive(balancer)

    @pytest.mark.long
    def test_it_is_200_when_the_store_is_gone(self) -> None:
        settings = {"redis_url": f"redis://127.0.0.1:{free_port()}/0", "backends": urls([free_port()])}
        with Gunicorn(workers=1, **settings) as balancer:
            eventually(lambda: balancer.health()[1]["store"] == "unreachable", "the store is gone")
            self.alive(balancer)

    def alive(self, balancer: Gunicorn) -> None:
        for port in (balancer.port, balancer.admin_port):
            answer = get(port, "/live")
            assert (answer.status, json.loads(answer.body)) == (200, {"status": "live"})
            assert answer.field("Cache-Control") == "no-store"
            assert get(port, "/live", "HEAD").status == 200

    @pytest.mark.parametrize(("live_path", "own"), [("/live", "/live"), ("/-/alive", "/-/alive"), ("", None)])
    @pytest.mark.sampled(3, 2)
    def test_its_path_is_reserved_as_that_of_health_is(
        self, store: str, demos: list[int], live_path: str, own: str | None
    ) -> None:
        paths = ("/live", "/-/alive", "/livex", "/live/x", "/health", "/healthy")
        reserved = {"/health", own}
        with Gunicorn(redis_url=store, backends=urls(demos), workers=1, live_path=live_path) as balancer:
            for path in paths:
                for target in (path, f"{path}?from=probe"):
                    forwarded = get(balancer.port, target).body.startswith(b"hello from backend")
                    assert forwarded is (path not in reserved), target
            assert get(balancer.admin_port, "/live").status == 200, "the admin listener keeps it"

    @pytest.mark.long
    def test_it_needs_no_token_and_tells_nothing_of_the_fleet(self, store: str, demos: list[int]) -> None:
        token = "operator:alice:alice-has-a-secret-token"
        with Gunicorn(redis_url=store, backends=urls(demos), workers=1, admin__tokens=token) as balancer:
            assert [get(port, "/live").body for port in (balancer.port, balancer.admin_port)] == [
                b'{"status":"live"}\n'
            ] * 2
