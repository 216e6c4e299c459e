from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from lbflask.config.attribute_docstrings import attribute_docstrings
from lbflask.config.load import ConfigError, load
from lbflask.config.pools import PoolConfig
from lbflask.config.routes import RouteConfig
from lbflask.config.schema import Config
from lbflask.config.traffic import (
    EffectiveSetting,
    GlobalTrafficConfig,
    PoolTrafficConfig,
    TrafficConfig,
    effective_settings,
)
from lbflask.core.http.cors import CorsPolicy
from tests.support.pool_routes import text_with_routes

BACKENDS = ["http://a:1"]


def config(top: dict[str, Any], pool: dict[str, Any], route: dict[str, Any]) -> Config:
    pools = {"web": {"backends": ["http://b:1"], **pool}}
    return Config.model_validate(
        {"backends": BACKENDS, "pools": pools, "routes": [{"name": "api", "pool": "web", **route}], **top}
    )


def origins(made: Config, pool: str = "web", *, route: bool = True) -> dict[str, EffectiveSetting]:
    levels = made.traffic_levels(pool, made.routes[0] if route else None)
    return {setting.key: setting for setting in effective_settings(levels)}


@pytest.mark.parametrize(("top", "pool", "route"), [*product((False, True), repeat=3)])
@pytest.mark.parametrize(
    ("table", "key", "values"),
    [
        ("timeouts", "connect", (3.0, 1.0, 2.0, 4.0)),
        ("timeouts", "request", (None, 1.0, 0.0, 4.0)),
        ("retries", "attempts", (2, 3, 0, 1)),
        ("timeouts", "per_attempt", (None, 1.0, 0.0, 4.0)),
        ("retries", "statuses", ((), (502,), (), (503, 504))),
        ("limits", "body", (0, 10, 0, 30)),
        ("cors", "origins", ((), ("*",), (), ("https://a.example",))),
        ("cors", "max_age", (None, 1, 0, 5)),
        ("", "host", ("", "a", "", "b:1")),
        ("", "error_pages_for", ("local_replies", "all", "local_replies", "all")),
        ("", "preserve_host", (True, False, True, False)),
    ],
)
def test_the_most_specific_table_that_sets_a_key_gives_its_value_and_its_origin(
    table: str, key: str, values: tuple[Any, ...], top: bool, pool: bool, route: bool
) -> None:
    def given(is_set: bool, value: Any) -> dict[str, Any]:
        return ({table: {key: value}} if table else {key: value}) if is_set else {}

    tables = [given(*pair) for pair in zip((top, pool, route), values[1:], strict=True)]
    if key == "max_age":  # has no effect without origins
        tables[0] = {"cors": {"origins": ["*"], **tables[0].get("cors", {})}}
    made = config(*tables)
    names = ("default", "top level", "pools.web", "routes.api")
    of_route, of_pool, of_default = (
        max([0, *(at for at, there in enumerate((top, pool, route)[:last], 1) if there)]) for last in (3, 2, 1)
    )
    name = f"{table}.{key}" if table else key
    for levels, at in (
        (origins(made), of_route),
        (origins(made, route=False), of_pool),
        (origins(made, "default", route=False), of_default),
    ):
        assert levels[name] == EffectiveSetting(name, values[at], names[at])
    found: Any = made.traffic("web", made.routes[0])
    assert getattr(getattr(found, table) if table else found, key) == values[of_route]


def test_a_pool_that_is_the_top_level_is_no_level_of_its_own() -> None:
    made = config({"timeouts": {"connect": 1.0}}, {"timeouts": {"connect": 2.0}}, {})
    assert made.traffic("default").timeouts.connect == 1.0
    assert origins(made, "default", route=False)["timeouts.connect"].origin == "top level"


def test_a_value_that_equals_the_default_overrides_another_one() -> None:
    made = config({"timeouts": {"connect": 1.0}}, {"timeouts": {"connect": 3.0}}, {})
    assert made.traffic("web").timeouts.connect == 3.0


def test_error_pages_are_merged_by_status(tmp_path: Path) -> None:
    for name in ("top", "pool", "route"):
        (tmp_path / f"{name}.txt").write_text(name)
    top, pool, route = (str(tmp_path / f"{name}.txt") for name in ("top", "pool", "route"))
    made = config(
        {"error_pages": {502: top, 503: top, 504: top}},
        {"error_pages": {503: pool, 504: pool}},
        {"error_pages": {504: route, 413: route}},
    )
    bodies = {status: page.body for status, page in made.traffic("web", made.routes[0]).pages.items()}
    assert bodies == {502: b"top", 503: b"pool", 504: b"route", 413: b"route"}
    found = {key: one.origin for key, one in origins(made).items() if key.startswith("error_pages.")}
    assert found == {
        "error_pages.502": "top level",
        "error_pages.503": "pools.web",
        "error_pages.504": "routes.api",
        "error_pages.413": "routes.api",
    }
    assert set(made.traffic("default").pages) == {502, 503, 504}


def test_without_pages_their_key_has_its_default() -> None:
    assert origins(config({}, {}, {}))["error_pages"] == EffectiveSetting("error_pages", {}, "default")


def test_the_settings_of_a_route_without_a_pool_have_none_of_pools() -> None:
    made = config({}, {}, {})
    keys = {setting.key for setting in effective_settings(made.traffic_levels(), of_pool=False)}
    assert "timeouts.connect" in keys
    assert "backend_keepalive" not in keys
    assert "timeouts.client_head" not in keys, "it is of clients, not of pools"


def leaves(kind: type[BaseModel]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= {f"{name}.{key}": value for key, value in leaves(field.annotation).items()}
        else:
            found[name] = field
    return found


def test_each_key_is_unset_by_default_below_the_top_level_and_has_a_meaning() -> None:
    for kind in (TrafficConfig, PoolTrafficConfig):
        assert {key: field.get_default(call_default_factory=True) for key, field in leaves(kind).items()} == {
            key: {} if key in ("error_pages", "internal_files") or "_headers." in key else None for key in leaves(kind)
        } | {"request_headers.remove": None, "response_headers.remove": None, "response_headers.when": None}
    assert leaves(PoolTrafficConfig).keys() <= leaves(GlobalTrafficConfig).keys()
    for kind in (PoolTrafficConfig, GlobalTrafficConfig):
        for name, field in kind.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                assert attribute_docstrings(inner).keys() == inner.model_fields.keys()
            else:
                assert name in attribute_docstrings(kind)


def test_pools_and_routes_have_the_keys_that_this_module_says() -> None:
    assert issubclass(PoolConfig, PoolTrafficConfig)
    assert issubclass(RouteConfig, TrafficConfig)
    assert issubclass(Config, GlobalTrafficConfig)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"retries": {"statuses": [200]}}, "retries.statuses"),
        ({"retries": {"statuses": ["x"]}}, "retries.statuses"),
        ({"host": "a b"}, "must be a name or address"),
        ({"error_pages_for": "backends"}, "error_pages_for"),
        ({"max_idle_connections": -1}, "max_idle_connections"),
        ({"timeouts": {"per_attempt": -1}}, "timeouts.per_attempt"),
        ({"cors": {"origins": ["https://a.example/"]}}, "must be https://name"),
        ({"cors": {"origins": ["https://A.example"]}}, "must be https://name"),
        ({"cors": {"origins": ["https://a.example:443"]}}, "has the port that browsers leave out"),
        ({"cors": {"origins": ["null"]}}, "must be https://name"),
        ({"cors": {"methods": ["get it"]}}, "must be a method"),
        ({"cors": {"headers": ["x y"]}}, "must be the name of a header field"),
        ({"cors": {"origins": ["*"], "credentials": True}}, "pools.web.cors.credentials: browsers ignore it"),
    ],
)
def test_what_cannot_be_is_refused(setting: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config({}, setting, {})
    text = str(caught.value).replace("pools.web.\n", "pools.web.")
    assert reason in text


def test_what_only_several_levels_together_make_impossible_is_refused_too() -> None:
    with pytest.raises(ValidationError, match=r"routes\[0\]\.cors\.credentials: browsers ignore it"):
        config({"cors": {"origins": ["*"]}}, {}, {"cors": {"credentials": True}})


def test_a_policy_for_other_origins_is_one_of_all_levels() -> None:
    made = config({"cors": {"origins": "https://a.example,https://*.b.example"}}, {"cors": {"methods": "PUT"}}, {})
    assert made.traffic("web").cors.to_model() == CorsPolicy(("https://a.example", "https://*.b.example"), ("PUT",))
    assert config({}, {}, {}).traffic("web").cors.to_model() is None


@pytest.mark.parametrize("key", ["client_head", "client_body", "graceful", "shutdown_delay"])
def test_time_limits_of_clients_and_workers_belong_to_the_top_level(key: str) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        config({}, {"timeouts": {key: 1.0}}, {})


@pytest.mark.parametrize(
    "setting", [{"timeouts": {"connect": 1}}, {"retries": {"attempts": 1}}, {"limits": {"body": 1}}]
)
def test_a_route_without_backends_has_no_use_for_them(setting: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"routes\[0\]\.\w+: a route with 'respond' does not use it"):
        config({}, {}, {"pool": None, "respond": {}, **setting})


def test_the_environment_sets_those_of_a_pool(tmp_path: Path) -> None:
    path = tmp_path / "lbflask.toml"
    path.write_text(text_with_routes('backends = ["http://a:1"]\n[pools.web]\nbackends = ["http://b:1"]\n'))
    environ = {"LBFLASK_CONFIG": str(path), "LBFLASK_POOLS__WEB__TIMEOUTS__CONNECT": "7"}
    assert load(environ).traffic("web").timeouts.connect == 7.0
    with pytest.raises(ConfigError, match=r"LBFLASK_POOLS__WEB__TIMEOUTS__CONNECT: pools\.web\.timeouts\.connect"):
        load({**environ, "LBFLASK_POOLS__WEB__TIMEOUTS__CONNECT": "0"})


def test_a_bad_value_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "lbflask.toml"
    path.write_text(
        'backends = ["http://a:1"]\n[[routes]]\nname = "api"\npool = "default"\n[routes.timeouts]\nfirst_byte = -1\n'
    )
    with pytest.raises(ConfigError, match=r"lbflask\.toml:6: routes\[0\]\.timeouts\.first_byte = -1: "):
        load({"LBFLASK_CONFIG": str(path)})
