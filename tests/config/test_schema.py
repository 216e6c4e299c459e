from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from lbflask.config.attribute_docstrings import attribute_docstrings
from lbflask.config.backends import BackendConfig
from lbflask.config.field_types import connection_address, socket_address
from lbflask.config.health import HealthConfig
from lbflask.config.schema import Config
from lbflask.config.traffic import TimeoutsConfig
from lbflask.core import model
from lbflask.core.ejection import EjectionPolicy
from lbflask.core.health import Thresholds
from lbflask.core.retry import RetryPolicy
from tests.support.pool_routes import with_routes


def config(**settings: Any) -> Config:
    return Config.model_validate({"backends": ["http://a:1"], **settings})


@pytest.mark.parametrize(
    ("given", "backend"),
    [
        ("http://a:1", model.Backend("a:1", "a", 1, "http://a:1", 1)),
        ("http://a", model.Backend("a:80", "a", 80, "http://a:80", 1)),
        ("http://A.Example/", model.Backend("a.example:80", "a.example", 80, "http://a.example:80", 1)),
        ("HTTP://a:65535", model.Backend("a:65535", "a", 65535, "http://a:65535", 1)),
        ("http://[::1]:8000", model.Backend("[::1]:8000", "::1", 8000, "http://[::1]:8000", 1)),
        ({"url": "http://a:1", "name": "web-1", "weight": 0}, model.Backend("web-1", "a", 1, "http://a:1", 0)),
        ("https://a", model.Backend("a:443", "a", 443, "https://a:443", 1, "https")),
        ("HTTPS://A:80/", model.Backend("a:80", "a", 80, "https://a:80", 1, "https")),
        ("https://[::1]", model.Backend("[::1]:443", "::1", 443, "https://[::1]:443", 1, "https")),
        (
            "unix:/run/app.sock",
            model.Backend("app.sock", "localhost", 0, "unix:/run/app.sock", 1, "unix", "/run/app.sock"),
        ),
        ("UNIX:///run/a", model.Backend("a", "localhost", 0, "unix:/run/a", 1, "unix", "/run/a")),
        (
            {"url": "unix:/run/a b", "name": "web", "weight": 3},
            model.Backend("web", "localhost", 0, "unix:/run/a b", 3, "unix", "/run/a b"),
        ),
        ({"url": "http://a:1", "backup": True}, model.Backend("a:1", "a", 1, "http://a:1", backup=True)),
        (
            {"url": "unix:/run/a", "backup": True},
            model.Backend("a", "localhost", 0, "unix:/run/a", 1, "unix", "/run/a", True),
        ),
        ({"url": "http://a:1", "slow_start": 9}, model.Backend("a:1", "a", 1, "http://a:1", slow_start=9.0)),
        (
            {"url": "unix:/run/a", "slow_start": 0},
            model.Backend("a", "localhost", 0, "unix:/run/a", 1, "unix", "/run/a", slow_start=0.0),
        ),
        ({"url": "http://a:1", "weight": 256}, model.Backend("a:1", "a", 1, "http://a:1", 256)),
    ],
)
def test_a_backend_is_a_url_or_a_table(given: Any, backend: model.Backend) -> None:
    assert BackendConfig.model_validate(given).to_model() == backend


@pytest.mark.parametrize(
    ("url", "address", "authority"),
    [
        ("http://a", ("http", "a", 80, ""), "a"),
        ("http://a:81", ("http", "a", 81, ""), "a:81"),
        ("https://a", ("https", "a", 443, ""), "a"),
        ("https://a:80", ("https", "a", 80, ""), "a:80"),
        ("http://[::1]:8000", ("http", "::1", 8000, ""), "[::1]:8000"),
        ("http://[::1]", ("http", "::1", 80, ""), "[::1]"),
        ("unix:/run/a", ("unix", "localhost", 0, "/run/a"), "localhost"),
    ],
)
def test_a_backend_knows_how_it_is_reached_and_called(url: str, address: tuple[Any, ...], authority: str) -> None:
    backend = BackendConfig(url=url).to_model()
    assert (backend.address, backend.authority) == (address, authority)


def test_a_long_path_of_a_socket_is_refused_before_the_system_does() -> None:
    BackendConfig(url="unix:/" + "a" * 64 + "/" + "b" * 41)
    with pytest.raises(ValidationError, match="longer than 107 bytes"):
        BackendConfig(url="unix:/" + "a" * 64 + "/" + "b" * 42)


@pytest.mark.parametrize(
    ("bind", "address"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
        ("unix:/run/a.sock", "/run/a.sock"),
        ("", None),
    ],
)
def test_a_listener_is_known_by_the_address_of_its_sockets(bind: str, address: object) -> None:
    assert socket_address(bind) == address


def test_a_request_may_take_as_long_as_it_likes_unless_told() -> None:
    assert TimeoutsConfig().request is None
    assert TimeoutsConfig(request=0).request == 0


def test_the_weight_is_no_part_of_a_backends_identity() -> None:
    light, heavy = (BackendConfig(url="http://a:1", weight=weight).to_model() for weight in (1, 5))
    assert light.id == heavy.id


def test_the_backends_are_the_default_pool_in_their_order() -> None:
    pool = config(backends=["http://b:1", "http://a:1"]).to_model("default")
    assert (pool.name, pool.strategy) == ("default", "round_robin")
    assert [backend.id for backend in pool.backends] == ["b:1", "a:1"]


def test_the_pool_knows_its_strategy_and_what_that_goes_by() -> None:
    pool = config(strategy="consistent_hash", hash={"key": "cookie:session", "load_factor": 1.25}).to_model("default")
    assert (pool.strategy, pool.hash_key, pool.load_factor) == ("consistent_hash", "cookie:session", 1.25)


@pytest.mark.parametrize("key", [["client", "header:X-A"], "client + header:X-A"])
def test_several_keys_may_be_hashed(key: object) -> None:
    made = config(strategy="consistent_hash", hash={"key": key})
    assert made.to_model("default").hash_key == "client + header:X-A"


def test_statuses_that_are_failures_may_be_named() -> None:
    assert config(ejection={"statuses": [429, 502]}).every_pool()["default"].ejection_rule().statuses == {429, 502}
    assert config().every_pool()["default"].ejection_rule() == EjectionPolicy(("a:1",))


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:8080", "localhost:1", "0.0.0.0:65535", "unix:/run/lb.sock"])
def test_listeners_have_a_host_and_a_port_or_a_path(address: str) -> None:
    assert config(bind=address).bind == (address,)


@pytest.mark.parametrize(
    "address",
    [
        "",
        ":8080",
        "a:",
        "a:-1",
        "a:65536",
        "a:\xb2",
        "a:1x",
        "8080",
        "unix:",
        "http://a:1",
        "::1:80",
        "a:80:80",
        "a b:1",
    ],
)
def test_anything_else_is_no_listener(address: str) -> None:
    with pytest.raises(ValidationError):
        config(bind=[address])


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.1.2.3:1", "[::1]:1", "unix:/run/admin.sock", ""])
def test_operators_connect_on_this_machine_or_nowhere(address: str) -> None:
    assert config(admin_bind=address).admin_bind == address


@pytest.mark.parametrize("address", ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "example.com:1", "128.0.0.1:1"])
def test_operators_connect_from_nowhere_else(address: str) -> None:
    with pytest.raises(ValidationError, match=r"loopback|is a name"):
        config(admin_bind=address)


TOKEN = "operator:alice:0123456789abcdef"


@pytest.mark.parametrize("address", ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "128.0.0.1:1"])
def test_operators_with_a_token_may_connect_from_elsewhere(address: str) -> None:
    assert config(admin_bind=address, admin={"tokens": TOKEN}).admin_bind == address
    with pytest.raises(ValidationError, match="needs a token for operators"):
        config(admin_bind=address, admin={"tokens": TOKEN.replace("operator", "read")})


def test_a_name_is_no_place_for_operators_even_with_a_token() -> None:
    """It may come to mean another address, and then their requests would look like those of clients."""
    with pytest.raises(ValidationError, match="is a name"):
        config(admin_bind="localhost:1", admin={"tokens": TOKEN})


def test_no_public_listener_can_look_like_the_one_of_operators() -> None:
    for bind in ("10.0.0.1:8090", "127.0.0.1:8090", "0.0.0.0:8090"):
        with pytest.raises(ValidationError, match="public listener"):
            config(bind=bind, admin_bind="0.0.0.0:8090", admin={"tokens": TOKEN})


def test_tokens_come_from_the_setting_and_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# who\n\n  read:grafana:abcdefghijklmnop  \n")
    found = config(admin={"tokens": [TOKEN], "token_file": str(file)}).admin.every_token()
    assert [(token.role, token.name) for token in found] == [("operator", "alice"), ("read", "grafana")]


def test_a_connection_to_a_listener_on_all_addresses_shows_one_of_them() -> None:
    for bind in ("0.0.0.0:80", "[::]:80"):
        assert connection_address(bind) == ("10.0.0.1", 80)
        assert connection_address(bind) != ("10.0.0.1", 81)
        assert connection_address(bind) != "/run/a.sock"
    assert connection_address("[0::1]:80") == ("::1", 80)


@pytest.mark.parametrize(
    "url",
    [
        "redis://r",
        "rediss://user:p@r:1/0",
        "unix:///run/valkey.sock?db=1",
        "redis+sentinel://a:26379,b,[::1]:2/mymaster/3?sentinel_password=p",
        "rediss+sentinel://user:p@a/mymaster",
        "redis+cluster://a:1,b:2",
        "rediss+cluster://a/0?ssl_ca_certs=/etc/ca.pem",
    ],
)
def test_the_store_is_named_by_a_url_of_redis(url: str) -> None:
    assert config(redis_url=url).redis_url == url


@pytest.mark.parametrize("url", ["", "r:6379", "http://r", "redis", "redis+other://a"])
def test_other_urls_name_no_store(url: str) -> None:
    with pytest.raises(ValidationError, match="redis://"):
        config(redis_url=url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis+sentinel://a:1", "must name the service"),
        ("redis+sentinel://a:1/", "must name the service"),
        ("redis+sentinel://a:1/m/x", "must name the service"),
        ("redis+sentinel:///m", "'' is not host or host:port"),
        ("redis+sentinel://a,,b/m", "'' is not host or host:port"),
        ("redis+cluster://a:b", "'a:b' is not host or host:port"),
        ("redis+cluster://a/1", "no databases but 0"),
    ],
)
def test_a_url_of_several_servers_says_what_is_wrong_with_it(url: str, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        config(redis_url=url)


@pytest.mark.parametrize(("given", "fails_open"), [(None, False), ("reject", False), ("fail_open", True)])
def test_a_pool_whose_backends_are_all_down_rejects_unless_told_otherwise(given: str | None, fails_open: bool) -> None:
    assert config(when_all_down=given).to_model("default").fails_open is fails_open


def test_checks_by_http_may_be_wrong_so_their_pool_fails_open() -> None:
    assert config(health={"kind": "http"}).to_model("default").fails_open
    assert config(health={"path": "/ready"}).to_model("default").fails_open
    assert not config(health={"path": "/ready"}, when_all_down="reject").to_model("default").fails_open


def test_backends_warm_up_when_they_are_told_to() -> None:
    assert config().to_model("default").slow_start == 0
    assert config(slow_start=30).to_model("default").slow_start == 30


@pytest.mark.parametrize("seconds", [-1, 86_401, "inf"])
def test_a_time_to_warm_up_that_makes_no_sense_is_refused_by_name(seconds: object) -> None:
    with pytest.raises(ValidationError, match="slow_start"):
        config(slow_start=seconds)
    with pytest.raises(ValidationError, match=r"backends\.0\.slow_start"):
        config(backends=[{"url": "http://a:1", "slow_start": seconds}])


def test_backends_that_take_no_traffic_have_no_part_in_ejection() -> None:
    backends = ["http://b:1", {"url": "http://a:1", "weight": 2}, {"url": "http://c:1", "weight": 0}]
    rule = config(backends=backends).ejection_rule()
    assert rule == EjectionPolicy(("a:1", "b:1"))


def test_the_rule_of_ejection_is_what_is_set() -> None:
    ejection = {"failures": 7, "window": 1.5, "duration": 2, "max_duration": 3, "max_percent": 10}
    assert config(ejection=ejection).ejection_rule() == EjectionPolicy(("a:1",), 7, 1.5, 2, 3, 10)


@pytest.mark.parametrize(
    ("key", "value"), [("failures", -1), ("window", 0), ("duration", 0), ("max_duration", -1), ("max_percent", 101)]
)
def test_a_rule_of_ejection_that_makes_no_sense_is_refused_by_name(key: str, value: float) -> None:
    with pytest.raises(ValidationError, match=rf"ejection\.{key}"):
        config(ejection={key: value})


@pytest.mark.parametrize("via", ["lb", "lb-1.example", "", "a!#$%&'*+-.^_`|~9"])
def test_via_is_a_token_or_empty(via: str) -> None:
    assert config(via=via).via == via


@pytest.mark.parametrize("via", ["a b", "a/b", "a,b", "a:1", "é", "日本", "²", "a\n"])
def test_what_is_no_token_is_no_via(via: str) -> None:
    with pytest.raises(ValidationError, match="single word"):
        config(via=via)


@pytest.mark.parametrize("path", ["health", "/a b", "/é", "/a\n", "/\x7f"])
def test_the_health_path_is_a_path(path: str) -> None:
    with pytest.raises(ValidationError, match="must be a path"):
        config(health_path=path)
    assert config(health_path="").health_path == ""


@pytest.mark.parametrize("namespace", ["", "a b", "a:b", "{a", "a}", "a\n"])
def test_a_namespace_fits_into_a_key(namespace: str) -> None:
    with pytest.raises(ValidationError, match="must be a word"):
        config(namespace=namespace)


def test_checks_are_soon_a_fifth_of_the_interval_away_unless_told() -> None:
    assert HealthConfig(interval=10.0).soon == 2.0
    assert HealthConfig(interval=10.0, fast_interval=0.5).soon == 0.5


def test_settings_reach_the_rules_as_the_rules_take_them() -> None:
    made = config(health={"rise": 4, "fall": 5}, retries={"attempts": 1, "budget_percent": 50})
    assert made.health.to_model("health").thresholds == Thresholds(rise=4, fall=5)
    assert made.retries.policy() == RetryPolicy(attempts=1, budget_percent=50.0)


def test_the_rules_and_the_settings_have_the_same_defaults() -> None:
    assert config().health.to_model("health").thresholds == Thresholds()
    assert config().retries.policy() == RetryPolicy()


def test_a_configuration_never_changes() -> None:
    made = config()
    with pytest.raises(ValidationError, match="frozen"):
        made.via = "other"


def declared(kind: type[BaseModel]) -> Iterator[tuple[str, str | None]]:
    """Every setting with its documentation; of a section, the settings in it."""
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from declared(inner)
        else:
            yield f"{kind.__name__}.{name}", attribute_docstrings(kind).get(name)


def test_every_setting_is_documented_in_its_one_declaration() -> None:
    settings = [*declared(Config), *declared(BackendConfig)]
    assert len(settings) > 30
    assert [name for name, description in settings if not description] == []


def test_a_pool_may_have_only_backends_that_are_found() -> None:
    config = Config.model_validate({"discovery": {"source": "dns://web:80"}})
    assert list(config.every_pool()) == ["default"]
    assert config.to_model("default").backends == ()


def test_a_top_level_that_finds_its_backends_is_a_pool_beside_others() -> None:
    pools = {"p": {"discovery": {"source": "srv://_http._tcp.p"}}}
    config = Config.model_validate(with_routes({"discovery": {"source": "dns://web:80"}, "pools": pools}))
    assert list(config.every_pool()) == ["default", "p"]


@pytest.mark.parametrize(
    ("settings", "key", "wrong"),
    [
        ({"access_log_format": "xml"}, "access_log_format", "must be text, json, combined, or a line with names"),
        ({"access_log_format": "{nobody}"}, "access_log_format", "there is no {nobody}"),
        ({"error_log_format": "xml"}, "error_log_format", "'text' or 'json'"),
        ({"metrics": "perhaps"}, "metrics", "valid boolean"),
        ({"hook_budget": 0}, "hook_budget", "greater than 0"),
        ({"hook_budget": 11}, "hook_budget", "less than or equal to 10"),
        ({"tracing": {"endpoint": "collector:4318"}}, "tracing.endpoint", "must be a URL"),
        ({"tracing": {"service": ""}}, "tracing.service", "at least 1 character"),
        ({"tracing": {"sample_percent": 101}}, "tracing.sample_percent", "less than or equal to 100"),
    ],
)
def test_what_telemetry_cannot_do_is_refused_by_name(settings: dict[str, Any], key: str, wrong: str) -> None:
    with pytest.raises(ValidationError) as refused:
        config(**settings)
    (error,) = refused.value.errors()
    assert ".".join(map(str, error["loc"])) == key
    assert wrong in error["msg"]


@pytest.mark.parametrize("form", ["text", "json", "{status}", "a {{literal}} {id}"])
def test_a_format_of_the_access_log_is_a_word_or_a_line_with_names(form: str) -> None:
    assert config(access_log_format=form).access_log_format == form


def test_hooks_may_be_one_string_with_commas() -> None:
    assert config(hooks="a:b, c").hooks == ("a:b", "c")
