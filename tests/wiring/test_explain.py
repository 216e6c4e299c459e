"""`explain` reads what the fleet knows, and takes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from devtools.servers import free_port
from lbflask.config.schema import Config
from lbflask.core.explain import LeftOutView, RequestQuery
from lbflask.core.model import ActiveHealth, Health
from lbflask.store.ports import HealthWrite
from lbflask.store.redis import RedisStore
from lbflask.wiring.adapters import store_for
from lbflask.wiring.explain import explained

ASKED = RequestQuery("GET", "shop.example", "/x", [], "192.0.2.1")


def config(redis_url: str, **settings: object) -> Config:
    return Config.model_validate(
        {"backends": ["http://a:1", "http://b:1", "http://c:1"], "redis_url": redis_url, **settings}
    )


@contextmanager
def store_of(made: Config) -> Iterator[RedisStore]:
    store = store_for(made)
    yield store
    store.close()


def test_what_the_checker_has_found_is_known(redis_url: str) -> None:
    made = config(redis_url)
    with store_of(made) as store:
        lease = store.hold_lease("default", "me", 10)
        assert lease is not None
        states = {"a:1": ActiveHealth(Health.UP), "b:1": ActiveHealth(Health.DOWN, reason="refused")}
        assert store.write_active("default", HealthWrite(lease.epoch, states, interval=10, announce=True))
    explanation, why = explained(made, ASKED)
    (view,) = explanation.pools
    assert why == ""
    assert [one.backend for one in view.candidates] == ["a:1"]
    assert view.left_out == (
        LeftOutView("b:1", "down: refused"),
        LeftOutView("c:1", "checking: no check has ended yet"),
    )


def test_the_plans_are_those_of_the_next_tickets_and_none_is_taken(redis_url: str) -> None:
    made = config(redis_url)
    with store_of(made) as store:
        store.take_tickets("default", 4)
        first, second = (explained(made, ASKED)[0].pools[0].plans for _ in range(2))
        assert first == second
        assert [plan[0] for plan in first] == ["b:1", "c:1", "a:1"]
        assert store.take_tickets("default", 1) == 4


def test_without_the_store_nothing_is_known_and_it_says_why() -> None:
    explanation, why = explained(config(f"redis://127.0.0.1:{free_port()}/0"), ASKED)
    assert "Connection refused" in why
    assert len(explanation.pools[0].candidates) == 3


@pytest.mark.parametrize(("health_path", "answers"), [("/x", True), ("/health", False), ("", False)])
def test_the_path_of_the_balancers_own_health_goes_to_no_backend(health_path: str, answers: bool) -> None:
    explanation, _ = explained(config(f"redis://127.0.0.1:{free_port()}/0", health_path=health_path), ASKED)
    assert bool(explanation.answer) is answers


@pytest.mark.parametrize(("live_path", "answers"), [("/x", True), ("/live", False), ("", False)])
def test_the_path_of_the_balancers_own_liveness_goes_to_no_backend(live_path: str, answers: bool) -> None:
    explanation, _ = explained(config(f"redis://127.0.0.1:{free_port()}/0", live_path=live_path), ASKED)
    assert bool(explanation.answer) is answers


def test_without_routes_the_only_pool_serves_whatever_its_name(redis_url: str) -> None:
    made = Config.model_validate({"pools": {"a": {"backends": ["http://a:1"]}}, "redis_url": redis_url})
    assert [view.pool for view in explained(made, ASKED)[0].pools] == ["a"]
