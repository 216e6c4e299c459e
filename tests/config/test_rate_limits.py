"""Rate limits, `max_connections` and the queue as they are configured."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lbflask.config.load import ConfigError, load
from lbflask.config.rate_limits import RateLimitConfig
from lbflask.config.schema import Config
from lbflask.core import slots
from lbflask.core.http.request_key import RequestKey
from lbflask.core.rate_limit import RateLimit
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.rate_limiter import Buckets
from lbflask.store.memory import MemoryStore
from lbflask.wiring.routes import limits_of
from tests.support.changes import property_test


def config(**settings: Any) -> Config:
    return Config.model_validate({"backends": ["http://a:1"], **settings})


@pytest.mark.parametrize(
    ("rate", "count", "period", "burst"),
    [
        (10, 10, 1, 10),
        ("10", 10, 1, 10),
        (0.5, 1, 2, 1),
        ("0.1", 1, 10, 1),
        (2.5, 5, 2, 2),
        ("100/min", 100, 60, 1),
        ("100 / min", 100, 60, 1),
        ("600/min", 600, 60, 10),
        ("5/s", 5, 1, 5),
        ("3/10s", 3, 10, 1),
        ("1000/h", 1000, 3600, 1),
        ("1/day", 1, 86_400, 1),
        ("1.5/min", 1, 40, 1),
        (100_000, 100_000, 1, 100_000),
    ],
)
def test_a_rate_is_so_many_requests_in_so_many_seconds(rate: Any, count: int, period: int, burst: int) -> None:
    limit = RateLimitConfig(rate=rate)
    assert limit.to_model("api") == RateLimit("api", count, period, burst)
    assert RateLimitConfig.model_validate(limit.model_dump()) == limit


@pytest.mark.parametrize(
    "rate",
    [
        0,
        -1,
        True,
        "",
        "fast",
        "10/fortnight",
        "/s",
        "10/",
        "1/0s",
        "1e9",
        "1e999999999",
        "1E-99999999",
        100_001,
        1e-9,
        None,
        [1],
        "nan",
        "inf",
    ],
)
def test_a_rate_that_is_none_is_refused(rate: Any) -> None:
    with pytest.raises(ValidationError, match="rate"):
        RateLimitConfig(rate=rate)


@pytest.mark.parametrize(
    ("key", "who"),
    [
        ("client", RequestKey("client")),
        ("header:X-Key", RequestKey("header", "x-key")),
        ("cookie:session", RequestKey("cookie", "session")),
        ("query:k", RequestKey("query", "k")),
        ("none", None),
    ],
)
def test_a_limit_counts_by_its_key(key: str, who: RequestKey | None) -> None:
    assert RateLimitConfig(rate=1, key=key).request_key() == who


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"rate_limits": {"api": {"rate": "often", "everywhere": True}}}, r"rate_limits\.api\.rate.*100/min"),
        ({"rate_limits": {"api": {"everywhere": True}}}, r"rate_limits\.api\.rate"),
        ({"rate_limits": {"api": {"rate": 1, "key": "uri"}}}, r"rate_limits\.api\.key.*client, header:NAME"),
        ({"rate_limits": {"api": {"rate": 1, "key": "header:"}}}, r"rate_limits\.api\.key"),
        ({"rate_limits": {"api": {"rate": 1, "burst": 0}}}, r"rate_limits\.api\.burst"),
        ({"rate_limits": {"api": {"rate": 1, "bust": 1}}}, r"rate_limits\.api\.bust"),
        ({"rate_limits": {"api": {"rate": 1}}}, r"rate_limits\.api: no route refers to it"),
        (
            {"routes": [{"name": "x", "pool": "default", "rate_limit": "y"}]},
            r"routes\[0\]\.rate_limit.*no rate limit 'y'",
        ),
        (
            {
                "rate_limits": {"api": {"rate": 1}},
                "routes": [{"name": "x", "redirect": {"to": "/y"}, "rate_limit": "api"}],
            },
            r"routes\[0\]\.rate_limit: a route with 'redirect' does not use it",
        ),
        ({"rate_limits": {"A b": {"rate": 1, "everywhere": True}}}, r"rate_limits\.A b.*small letters"),
        ({"queue": {"length": -1}}, r"queue\.length"),
        ({"queue": {"timeout": 0}}, r"queue\.timeout"),
        ({"backends": [{"url": "http://a:1", "max_connections": -1}]}, r"backends.*max_connections"),
        ({"backends": [{"url": "http://a:1", "max_connections": "x"}]}, r"backends.*max_connections"),
    ],
)
def test_a_bad_value_is_refused_by_name(tmp_path: Any, settings: dict[str, Any], complaint: str) -> None:
    path = tmp_path / "lbflask.toml"
    path.write_text(toml({"backends": ["http://a:1"], **settings}))
    with pytest.raises(ConfigError, match=complaint):
        load({"LBFLASK_CONFIG": str(path)})


def toml(values: dict[str, Any]) -> str:
    """Inline tables do for a test."""

    def value(of: Any) -> str:
        if isinstance(of, dict):
            return "{" + ", ".join(f'"{key}" = {value(inner)}' for key, inner in of.items()) + "}"
        if isinstance(of, list):
            return "[" + ", ".join(map(value, of)) + "]"
        return str(of).lower() if isinstance(of, bool) else repr(of)

    return "".join(f"{key} = {value(of)}\n" for key, of in values.items())


def test_the_environment_configures_limits_too() -> None:
    environ = {"LBFLASK_BACKENDS": "http://a:1", "LBFLASK_CONFIG": "/dev/null"}
    limits = {"LBFLASK_RATE_LIMITS__API__RATE": "100/min", "LBFLASK_RATE_LIMITS__API__EVERYWHERE": "true"}
    found = load({**environ, **limits, "LBFLASK_QUEUE__LENGTH": "7"})
    assert found.rate_limits["api"].to_model("api") == RateLimit("api", 100, 60, 1)
    assert found.queue.to_model() == slots.QueuePolicy(7, 5.0)


def test_a_route_has_the_limits_that_hold_everywhere_and_its_own() -> None:
    limits = {"own": {"rate": 1}, "all": {"rate": 2, "everywhere": True}, "others": {"rate": 3}}
    routes = [
        {"name": name, "pool": "default", "match": {"path": f"/{name}"}, "rate_limit": name}
        for name in ("own", "others")
    ]
    found = config(rate_limits=limits, routes=routes)
    buckets = Buckets(Fleet(MemoryStore(lambda: 0.0), ["default"]))
    of = limits_of(found, buckets)
    names = {
        name: [limit.name for limit, _ in of_route._limits] for name in ("own", "others", "") if (of_route := of(name))
    }
    assert names == {"own": ["own", "all"], "others": ["all", "others"], "": ["all"]}
    assert limits_of(config(), buckets)("") is None


def test_a_backend_has_no_bound_unless_it_is_given_one() -> None:
    given = ["http://a:1", {"url": "http://b:1", "max_connections": 7}, {"url": "unix:/run/c", "max_connections": 2}]
    pool = config(backends=given).to_model("default")
    assert [backend.max_connections for backend in pool.backends] == [0, 7, 2]


def test_what_the_tables_say_without_settings_is_what_the_core_takes_for_granted() -> None:
    assert config().queue.to_model() == slots.QueuePolicy()


test_any_rate_is_within_its_bounds_or_rejected = property_test("rate")
