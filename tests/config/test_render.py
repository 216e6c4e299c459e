from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.config.load import load
from lbflask.config.render import explained, explained_text, version
from lbflask.config.schema import Config
from tests.support.pool_routes import with_routes
from tests.support.toml import as_toml


def config(**settings: Any) -> Config:
    return Config.model_validate(with_routes({"backends": ["http://a:1"], **settings}))


def seconds() -> st.SearchStrategy[float]:
    return st.floats(1e-9, 86_400)


SETTINGS = st.fixed_dictionaries(
    {
        "backends": st.lists(
            st.builds(
                lambda port, name, weight, backup: {
                    "url": f"http://h:{port}",
                    "name": name and f"{name}-{port}",
                    "weight": weight,
                    "backup": backup,
                },
                st.integers(1, 65535),
                st.none() | st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True),
                st.integers(0, 256),
                st.booleans(),
            ),
            min_size=1,
            max_size=4,
            unique_by=lambda backend: backend["url"],
        ),
        "bind": st.lists(st.integers(0, 65535).map("0.0.0.0:{}".format), min_size=1, max_size=3, unique=True),
        "access_log": st.sampled_from(["", "-"]) | st.text(max_size=20).map("/{}".format),
        "preserve_host": st.booleans(),
        "trusted_proxies": st.lists(st.ip_addresses().map(str), max_size=3),
        "via": st.sampled_from(["", "lb", "`|~"]),
        "health": st.fixed_dictionaries({"interval": seconds(), "fast_interval": st.none() | seconds()}),
        "timeouts": st.fixed_dictionaries({"request": st.none() | st.just(0) | seconds()}),
        "limits": st.fixed_dictionaries({"body": st.integers(0, 1 << 62)}),
    }
)


@given(SETTINGS)
def test_what_is_shown_loads_again_as_the_same_configuration(settings: dict[str, Any]) -> None:
    shown = config(**settings)
    assert Config.model_validate(tomllib.loads(as_toml(shown))) == shown


def test_the_path_of_all_requests_is_shown_as_it_was_given() -> None:
    route = {"name": "a", "pool": "default", "match": {"path": "/"}, "replace_prefix": "/"}
    shown = config(routes=[route])
    assert tomllib.loads(as_toml(shown))["routes"] == [route]
    assert Config.model_validate(tomllib.loads(as_toml(shown))) == shown


def test_routes_are_shown_as_tables_that_load_again() -> None:
    route = {
        "name": "api",
        "match": {"host": "*.a", "path": "/x", "methods": "GET", "headers": {"X-A": True, "user-agent": "é'\""}},
        "split": {"default": 99.5, "b": 0.5},
        "request_headers": {"set": {"Accept": "1"}, "remove": "B"},
        "mirror": {"pool": "b"},
    }
    pools = {"b": {"backends": ["http://b:1"]}}
    first = config(pools=pools, routes=[route, {"name": "no", "match": {"path": "/no"}, "respond": {}}])
    shown = as_toml(first)
    assert shown.count("[[routes]]\n") == 2
    assert Config.model_validate(tomllib.loads(shown)) == first


def test_header_fields_are_masked_but_for_harmless_ones() -> None:
    secret = {"Authorization": "Bearer hunter2", "X-Other": "hunter2", "Accept": "shown"}
    route = {
        "name": "r",
        "pool": "default",
        "match": {"headers": {"X-Token": "hunter2", "Cookie": True}},
        "request_headers": {"set": secret},
        "response_headers": {"add": {"Set-Cookie": "hunter2"}},
    }
    health = {"headers": ["Authorization: Basic hunter2", "User-Agent: shown"]}
    backends = [{"url": "http://a:1", "health": {"path": "/", "headers": {"X-Secret": "hunter2"}}}]
    shown = as_toml(config(backends=backends, health=health, routes=[route]))
    assert "hunter2" not in shown
    assert shown.count("***") == 6
    assert shown.count("shown") == 2


@pytest.mark.parametrize("text", ["\x7f", "\n\t\0", '"quoted" \\ and é', "日本", "-"])
def test_strings_are_shown_as_toml_writes_them(text: str) -> None:
    assert tomllib.loads(as_toml(config(access_log=text)))["access_log"] == text


def test_what_is_shown_is_a_configuration_file(tmp_path: Path) -> None:
    first = config(redis_url="unix:///run/valkey.sock", health={"rise": 7})
    path = tmp_path / "shown.toml"
    path.write_text(as_toml(first), "utf-8")
    assert load({"LBFLASK_CONFIG": str(path)}) == first


def test_defaults_are_shown_too_and_what_is_unset_is_left_out() -> None:
    shown = tomllib.loads(as_toml(config()))
    assert shown["health"]["interval"] == 10.0
    assert shown["retries"] == {"attempts": 2, "budget_percent": 20.0, "statuses": [], "hedge": "off"}
    assert "redis_url" not in shown
    assert "fast_interval" not in shown["health"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://r:6379/0", "redis://r:6379/0"),
        ("redis://user@r", "redis://***@r"),
        ("redis://:hunter2@r:6379/0", "redis://:***@r:6379/0"),
        ("rediss://user:hunter2@r", "rediss://user:***@r"),
        ("redis://user:h@unter2@r", "redis://user:***@r"),
        ("redis://user:h/unter2@r", "redis://user:***@r"),
        ("redis://user:h:unter2@r", "redis://user:***@r"),
        ("unix:///run/valkey.sock?db=1&password=hunter2", "unix:///run/valkey.sock?db=1&password=***"),
        ("redis://r?password=hunter2&db=1", "redis://r?password=***&db=1"),
        ("rediss://r?ssl_password=hunter2", "rediss://r?ssl_password=***"),
        (
            "redis+sentinel://user:hunter2@a:1,b:2/m?sentinel_password=hunter3",
            "redis+sentinel://user:***@a:1,b:2/m?sentinel_password=***",
        ),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    assert tomllib.loads(as_toml(config(redis_url=url)))["redis_url"] == shown


def test_a_version_tells_settings_apart_but_no_addresses() -> None:
    first = version(config(redis_url="redis://:one@h"))
    assert first == version(config(redis_url="redis://:one@h", bind="0.0.0.0:1", admin_bind="127.0.0.1:2"))
    assert first != version(config(redis_url="redis://:one@other"))
    assert first != version(config(redis_url="redis://:one@h", pools={"api": {"backends": ["http://c:1"]}}))


def test_a_version_tells_secrets_apart() -> None:
    assert version(config(redis_url="redis://:one@h")) != version(config(redis_url="redis://:two@h"))
    sticky = {"cookie": "LB", "secrets": ["0123456789abcdef"]}
    same, other = (version(config(sticky={**sticky, "secrets": [text]})) for text in ("0123456789abcdef", "f" * 16))
    assert version(config(sticky=sticky)) == same != other


def test_further_pools_and_secrets_within_them_are_shown_as_they_should_be() -> None:
    shown = as_toml(
        config(redis_url="redis://:hush@h", pools={"api": {"backends": ["http://c:1"], "strategy": "first"}})
    )
    assert "hush" not in shown
    again = tomllib.loads(shown)
    assert again["pools"]["api"]["strategy"] == "first"
    assert Config.model_validate(again | {"redis_url": "redis://h"}) == config(
        redis_url="redis://h", pools={"api": {"backends": ["http://c:1"], "strategy": "first"}}
    )


def test_tokens_are_shown_without_their_secrets() -> None:
    shown = as_toml(config(admin={"tokens": "operator:alice:0123456789abcdef,read:grafana:0123456789abcdef"}))
    assert tomllib.loads(shown)["admin"]["tokens"] == ["operator:alice:***", "read:grafana:***"]
    assert "0123456789abcdef" not in shown


ROUTES: list[dict[str, Any]] = [
    {"pool": "default"},
    {"pool": "default", "match": {"path": "/"}, "replace_prefix": "/"},
    {"pool": "default", "match": {"path": "/a/", "methods": ["GET"], "headers": {"A": True}}, "strip_prefix": True},
    {"split": {"default": 100}},
    {"respond": {"status": 404}},
    {"redirect": {"to": "https://{host}{path}{query}"}},
]


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_that_is_shown_loads_again_as_the_same(route: dict[str, Any]) -> None:
    shown = config(routes=[{"name": "r", **route}])
    assert Config.model_validate(tomllib.loads(as_toml(shown))) == shown


def test_the_settings_of_pools_and_routes_are_shown_with_their_origins() -> None:
    made = config(
        timeouts={"connect": 1.0},
        pools={"web": {"backends": ["http://b:1"], "retries": {"attempts": 0}}},
        routes=[
            {"name": "api", "match": {"path": "/a"}, "split": {"default": 50, "web": 50}, "limits": {"body": 7}},
            {"name": "no", "match": {"path": "/no"}, "respond": {}},
        ],
    )
    found = {(one["route"], one["pool"]): one["settings"] for one in explained(made) if not one["listener"]}
    assert [*found] == [("", "default"), ("", "web"), ("api", "default"), ("api", "web"), ("no", "")]
    of_route = {one["key"]: (one["value"], one["origin"]) for one in found["api", "web"]}
    assert of_route["timeouts.connect"] == (1.0, "top level")
    assert of_route["retries.attempts"] == (0, "pools.web")
    assert of_route["limits.body"] == (7, "routes.api")
    assert of_route["preserve_host"] == (True, "default")
    lines = explained_text(explained(made)).splitlines()
    assert lines[0] == "# pool default"
    assert "# route api, pool web" in lines
    assert "timeouts.connect = 1.0  # top level" in lines
    assert "# timeouts.request is unset  # default" in lines
    assert "retries.attempts = 0  # pools.web" in lines
    assert "backend_keepalive" not in "".join(lines[lines.index("# route no") :])


def test_a_route_without_a_name_is_shown_by_its_match() -> None:
    made = config(routes=[{"match": {"path": "/a"}, "pool": "default", "limits": {"body": 7}}])
    _, of_route, _ = explained(made)
    assert of_route["route"] == "/a"
    assert {"key": "limits.body", "value": 7, "origin": "routes./a"} in of_route["settings"]
    assert "# route /a, pool default" in explained_text(explained(made)).splitlines()


def test_changes_of_header_fields_are_shown_with_all_levels_that_make_them() -> None:
    when = [{"on": ["5xx"], "set": {"Cache-Control": "no-store"}}]
    made = config(
        response_headers={"remove": ["Server"], "set": {"X-A": "top"}, "when": when},
        pools={"web": {"backends": ["http://b:1"], "response_headers": {"set": {"X-A": "pool"}}}},
        routes=[
            {
                "name": "api",
                "pool": "web",
                "response_headers": {"remove": ["X-Powered-By"], "when": [{"absent": ["A"], "add": {"A": "b"}}]},
            }
        ],
    )
    (of_route,) = [one["settings"] for one in explained(made) if one["route"] == "api"]
    found = [
        (one["key"].removeprefix("response_headers."), one["value"], one["origin"])
        for one in of_route
        if one["key"].startswith("response_headers.") and one["origin"] != "default"
    ]
    assert [one for one in found if one[0] == "remove"] == [
        ("remove", ["Server"], "top level"),
        ("remove", ["X-Powered-By"], "routes.api"),
    ]
    assert [(key, origin) for key, _, origin in found if key == "set.X-A"] == [
        ("set.X-A", "top level"),
        ("set.X-A", "pools.web"),
    ]
    assert [(value[0], origin) for key, value, origin in found if key == "when"] == [
        ({"on": ["5xx"], "set": {"Cache-Control": "no-store"}}, "top level"),
        ({"absent": ["A"], "add": {"A": "***"}}, "routes.api"),
    ]
    unset = {"key": "response_headers.add", "value": {}, "origin": "default"}
    assert unset in of_route


def test_the_authentication_of_a_route_is_that_of_the_nearest_level() -> None:
    everybody, service = {"forward": "http://sso:9000/check"}, {"forward": "http://auth:4180/check"}
    own = {"name": "admin", "match": {"path": "/admin"}, "auth": service}
    open_to_all = {"name": "open", "match": {"path": "/open"}, "auth": "none"}
    inherits = {"name": "shop", "match": {"path": "/shop"}}
    routes = [one | {"pool": "default"} for one in (own, open_to_all, inherits)]
    found = {
        one["route"]: next((each["value"], each["origin"]) for each in one["settings"] if each["key"] == "auth")
        for one in explained(config(auth=everybody, routes=routes))
        if one["pool"]
    }
    assert {name: origin for name, (_, origin) in found.items()} == {
        "": "top level",
        "admin": "routes.admin",
        "open": "routes.open",
        "shop": "top level",
    }
    assert found["open"][0] is None
    assert "auth:4180" in str(found["admin"][0])
    assert "sso:9000" in str(found["shop"][0])
    (nothing,) = (one for one in explained(config()) if one["pool"])
    assert {"key": "auth", "value": None, "origin": "default"} in nothing["settings"]


def of_listeners(**settings: Any) -> dict[str, dict[str, tuple[Any, str]]]:
    """The explained settings of each listener: value and origin."""
    return {
        one["listener"]: {setting["key"]: (setting["value"], setting["origin"]) for setting in one["settings"]}
        for one in explained(config(**settings))
        if one["listener"]
    }


def test_the_settings_of_listeners_are_shown_with_their_origins() -> None:
    sni = {"bind": "h:1", "tcp": "db", "sni": {"a.example": "db"}, "proxy_protocol": ["10.0.0.0/8"]}
    local = {"bind": "unix:/run/a.sock", "socket_mode": "0660", "name": "local"}
    found = of_listeners(listeners=[sni, local], pools={"db": {"backends": ["tcp://d:1"]}})
    assert [*found] == ["h:1", "local"]
    assert found["h:1"]["tcp"] == ("db", "listeners[0]")
    assert found["h:1"]["sni.a.example"] == ("db", "listeners[0]")
    assert found["h:1"]["proxy_protocol"] == (["10.0.0.0/8"], "listeners[0]")
    assert found["local"]["socket_mode"] == ("0660", "listeners[1]")
    assert found["local"]["tls"] == (False, "default")
    assert of_listeners(bind="h:1")["h:1"]["bind"] == ("h:1", "top level")
    assert of_listeners()["0.0.0.0:8080"]["bind"] == ("0.0.0.0:8080", "default")
    assert "# listener h:1" in explained_text(explained(config(bind="h:1")))
