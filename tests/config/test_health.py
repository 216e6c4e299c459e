"""How checks are configured: for the pool, for one backend, and what is refused."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lbflask.config.load import ConfigError, load
from lbflask.config.schema import Config
from lbflask.core.checks import HealthCheck, StatusSet
from lbflask.core.health import Thresholds
from tests.support.changes import property_test
from tests.support.toml import as_toml


def config(health: dict[str, Any] | None = None, *backends: Any) -> Config:
    return Config.model_validate({"backends": backends or ["http://a:1"], "health": health or {}})


def check(health: dict[str, Any], own: dict[str, Any] | None = None) -> HealthCheck:
    """The check of one backend."""
    backend = "http://a:1" if own is None else {"url": "http://a:1", "health": own}
    return config(health, backend).checks()["a:1"]


def test_unless_told_a_backend_is_up_when_it_takes_connections() -> None:
    assert check({}) == HealthCheck()


def test_every_key_reaches_the_check() -> None:
    made = check(
        {
            "kind": "https", "interval": 20, "fast_interval": 3, "jitter": 5, "timeout": 4, "rise": 6, "fall": 7,
            "path": "/ready?x=1", "method": "POST", "host": "shop.example", "headers": {"X-A": "1", "X-B": "2, 3"},
            "expect_status": "200,204", "expect_body": "ready", "port": 9000,
        }
    )  # fmt: skip
    assert made == HealthCheck(
        "https", 20, 3, 5, 4, Thresholds(6, 7), "/ready?x=1", "POST", "shop.example",
        (("X-A", "1"), ("X-B", "2, 3")), StatusSet(((200, 200), (204, 204))), re.compile("ready"), 9000,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pool", "own", "kind"),
    [
        ({}, None, "tcp"),
        ({"interval": 5, "port": 9000}, None, "tcp"),
        ({"path": "/ready"}, None, "http"),
        ({"expect_status": 200}, None, "http"),
        ({"headers": ["X-A: 1"]}, None, "http"),
        ({"kind": "https", "path": "/ready"}, None, "https"),
        ({}, {"path": "/ready", "port": 9000}, "http"),
        ({}, {"port": 9000}, "tcp"),
        ({"kind": "tcp"}, {"path": "/ready"}, "http"),
        ({"kind": "https"}, {"path": "/ready"}, "https"),
        ({"path": "/ready"}, {"kind": "tcp"}, "tcp"),
        ({"path": "/ready"}, {"interval": 5}, "http"),
    ],
)
def test_the_kind_is_what_is_set_or_what_the_other_keys_mean(pool: Any, own: Any, kind: str) -> None:
    assert check(pool, own).kind == kind


def test_what_a_backend_does_not_set_is_the_pools() -> None:
    pool = {"path": "/pool", "interval": 20, "rise": 5, "headers": ["X-A: 1"]}
    made = config(pool, {"url": "http://a:1", "health": {"path": "/own", "rise": 1, "port": 9}}, "http://b:1").checks()
    assert (made["a:1"].path, made["a:1"].port, made["a:1"].thresholds.rise) == ("/own", 9, 1)
    assert (made["a:1"].interval, made["a:1"].headers) == (20, (("X-A", "1"),))
    assert (made["b:1"].path, made["b:1"].port, made["b:1"].thresholds.rise) == ("/pool", 0, 5)


def test_soon_is_never_later_than_the_interval() -> None:
    assert check({"interval": 1, "fast_interval": 5}).soon == 1
    assert check({"interval": 10}, {"interval": 60}).soon == 12
    assert check({"interval": 10, "fast_interval": 3}, {"interval": 60}).soon == 3


@pytest.mark.parametrize(
    ("given", "statuses"),
    [
        (200, "200"),
        ([200, 204], "200,204"),
        (["200-299", 401], "200-299,401"),
        (" 200 - 299".replace(" ", ""), "200-299"),
    ],
)
def test_statuses_are_a_number_a_list_or_ranges(given: Any, statuses: str) -> None:
    assert str(check({"expect_status": given}).expect_status) == statuses


def test_headers_are_lines_or_a_table_or_of_the_environment() -> None:
    expected = (("X-A", "1"), ("X-B", "b c"))
    assert check({"headers": ["X-A: 1", "X-B:b c "]}).headers == expected
    assert check({"headers": {"X-A": "1", "X-B": "b c"}}).headers == expected
    assert check({"headers": "X-A: 1, X-B: b c"}).headers == expected


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("kind", "ping", "'tcp', 'http' or 'https'"),
        ("path", "ready", "begins with /"),
        ("path", "", "begins with /"),
        ("path", "/a b", "without blanks"),
        ("path", "/a#b", "without #"),
        ("path", "/a\n", "without blanks"),
        ("method", "GET /", "a method such as"),
        ("method", "CONNECT", "a method such as"),
        ("method", "", "a method such as"),
        ("host", "a b", "a name or address"),
        ("host", "a\r\nX: 1", "a name or address"),
        ("headers", ["X-A"], "as in `X-Probe: yes`"),
        ("headers", ["X A: 1"], "as in `X-Probe: yes`"),
        ("headers", ["X-A: 1\r\nX-B: 2"], "as in `X-Probe: yes`"),
        ("headers", ["Host: a"], "use `host`"),
        ("headers", ["Content-Length: 5"], "written by the check itself"),
        ("expect_status", "2xx", "as in 200-399"),
        ("expect_status", True, "string"),
        ("expect_status", 99, "as in 200-399"),
        ("expect_body", "(", "is not a regular expression"),
        ("port", 0, "greater than or equal to 1"),
        ("port", 65536, "less than or equal to 65535"),
        ("timeout", 0, "greater than 0"),
        ("lease", 0.1, "greater than or equal to 0.5"),
    ],
)
def test_a_bad_value_is_refused_with_what_it_should_be(key: str, value: Any, says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        config({key: value})
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[health]\nkind = "tcp"\npath = "/ready"', "health.path: a check of kind 'tcp' does not use it"),
        ('[health]\nmethod = "HEAD"\nexpect_body = "x"', "health.expect_body: the answer to HEAD has no body"),
        ('[health]\nexpect_status = "2xx"', "health.expect_status = '2xx': must be statuses"),
    ],
)
def test_a_mistake_is_told_with_its_key(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "lbflask.toml"
    file.write_text('backends = ["http://a:1"]\n' + text)
    with pytest.raises(ConfigError) as refused:
        load({"LBFLASK_CONFIG": str(file)})
    last = len(file.read_text().splitlines())
    assert str(refused.value).startswith(f"{file}:{last}: {says}")


def test_a_mistake_of_the_environment_names_the_variable() -> None:
    environ = {"LBFLASK_BACKENDS": "http://a:1", "LBFLASK_HEALTH__KIND": "tcp", "LBFLASK_HEALTH__PATH": "/x"}
    with pytest.raises(ConfigError) as refused:
        load({**environ, "LBFLASK_CONFIG": "/dev/null"})
    assert str(refused.value).startswith("LBFLASK_HEALTH__PATH: health.path: ")


@pytest.mark.parametrize(
    ("url", "pool", "own", "says"),
    [
        ("http://a:1", {}, {"kind": "tcp", "host": "b"}, "backends[0].health.host"),
        ("http://a:1", {"expect_body": "x"}, {"method": "HEAD"}, "backends[0].health.expect_body"),
        ("http://a:1", {}, {"lease": 5}, "lease"),
        ("http://a:1", {}, {"pth": "/"}, "pth"),
        ("unix:/run/a", {}, {"port": 9000}, "backends[0].health.port: a unix socket has no other port"),
        ("unix:/run/a", {"port": 9000}, None, "health.port: a unix socket has no other port"),
        ("unix:/run/a", {"kind": "https"}, None, "health.kind: a unix socket is checked by tcp or http"),
    ],
)
def test_a_mistake_of_one_backend_names_it(url: str, pool: Any, own: Any, says: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(says)):
        config(pool, url if own is None else {"url": url, "health": own})


@pytest.mark.parametrize(
    "own",
    [{}, {"path": "/ready", "port": 9000}, {"headers": {"Accept": "1"}, "expect_status": [200, 204]}, {"kind": "tcp"}],
)
def test_what_is_shown_of_a_backend_is_what_it_sets(own: dict[str, Any]) -> None:
    shown = config({"path": "/pool", "interval": 20}, {"url": "http://a:1", "health": own}, "http://b:1")
    again = Config.model_validate(tomllib.loads(as_toml(shown)))
    assert again == shown
    assert again.checks() == shown.checks()


def test_the_lease_is_three_seconds_unless_told() -> None:
    assert config().health.lease == 3.0
    assert config({"lease": 10}).health.lease == 10.0


test_any_value_is_accepted_twice_or_rejected = property_test("setting")
