"""Edits of header fields for all, per pool and per route."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbflask.config.load import ConfigError, load
from lbflask.core.http.value_templates import RequestFacts
from lbflask.wiring.pipelines import proxy_settings
from tests.support.changes import property_test

test_any_edits_leave_the_framing_alone_or_are_rejected = property_test("header_edits")

FACTS = RequestFacts("192.0.2.7", "https", "shop.example", "GET", "/a?b", "id", [("X-Country", "de")], backend="web-1")
FILE = """
backends = ["http://a:1"]
request_headers = { set = { X-Scheme = "{scheme}", X-All = "1" }, remove = ["X-Secret"] }
response_headers.set.Strict-Transport-Security = "max-age=60"

[pools.api]
backends = ["http://b:2"]
request_headers = { set = { X-Pool = "api", X-All = "2" } }

[[routes]]
name = "api"
match = { path = "/api" }
pool = "api"
request_headers = { add = { X-Route = "{header.X-Country}" }, remove = ["X-Pool"] }
response_headers = { set = { X-Backend = "{backend}" }, rewrite_location = { "http://b:2/" = "/api/" } }

[[routes]]
name = "rest"
pool = "default"
"""


def test_those_of_all_levels_apply_one_after_the_other(tmp_path: Path) -> None:
    file = tmp_path / "lbflask.toml"
    file.write_text(FILE)
    config = load({"LBFLASK_CONFIG": str(file)})
    api, rest = config.routes
    settings = proxy_settings(config, "api", api)
    assert settings.request_edits is not None
    assert settings.response_edits is not None
    given = [("X-Secret", "s"), ("X-Pool", "of the client"), ("X-All", "0")]
    assert settings.request_edits.of(given, FACTS) == [("X-All", "2"), ("X-Scheme", "https"), ("X-Route", "de")]
    edited = settings.response_edits.of([("Location", "http://b:2/x")], FACTS)
    hsts = ("Strict-Transport-Security", "max-age=60")
    assert edited == [("Location", "/api/x"), hsts, ("X-Backend", "web-1")]
    plain = proxy_settings(config, "default", rest)
    assert plain.request_edits is not None
    assert plain.request_edits.of(given, FACTS) == [given[1], ("X-All", "1"), ("X-Scheme", "https")]
    local = proxy_settings(config)
    assert local.response_edits is not None
    assert local.response_edits.of([]) == [hsts]


CONDITIONAL = """
backends = ["http://a:1"]
request_headers.default = { X-Request-Start = "t={request_id}" }

[response_headers]
default = { Cache-Control = "no-store" }

[[response_headers.when]]
on = ["2xx", 404]
absent = ["Set-Cookie"]
set = { Cache-Control = "max-age=60" }

[[routes]]
name = "all"
pool = "default"

[[routes.response_headers.when]]
on = "5xx"
present = "X-Error"
remove = "X-Error"
add = { X-From = "{backend}" }
"""


def test_some_apply_to_some_messages_only(tmp_path: Path) -> None:
    file = tmp_path / "lbflask.toml"
    file.write_text(CONDITIONAL)
    config = load({"LBFLASK_CONFIG": str(file)})
    settings = proxy_settings(config, "default", config.routes[0])
    assert settings.request_edits is not None
    assert settings.response_edits is not None
    assert settings.request_edits.of([], FACTS) == [("X-Request-Start", "t=id")]
    assert settings.request_edits.of([("x-request-start", "1")], FACTS) == [("x-request-start", "1")]
    uncached, cached, cookie, error = (
        ("Cache-Control", "no-store"),
        ("Cache-Control", "max-age=60"),
        ("Set-Cookie", "a=b"),
        ("X-Error", "x"),
    )
    edits = settings.response_edits
    assert edits.of([], FACTS, 200) == edits.of([], FACTS, 404) == [cached]
    assert edits.of([], FACTS, 302) == [uncached]
    assert edits.of([cookie], FACTS, 200) == [cookie, uncached]
    assert edits.of([error], FACTS, 502) == [uncached, ("X-From", "web-1")]
    assert edits.of([error], FACTS, 400) == [error, uncached]
    assert proxy_settings(config).response_edits != edits


def test_without_any_there_are_none(tmp_path: Path) -> None:
    file = tmp_path / "lbflask.toml"
    file.write_text('backends = ["http://a:1"]\n')
    settings = proxy_settings(load({"LBFLASK_CONFIG": str(file)}), "default")
    assert settings.request_edits is None
    assert settings.response_edits is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            'request_headers.set.X-A = "$remote_addr"',
            "'$remote_addr' is no variable here: there are {client}",
        ),
        ('request_headers.set.X-A = "{remote_addr}"', "there is no {remote_addr}: there are {client}, {scheme}"),
        ('request_headers.set.X-A = "{backend}"', "{backend} is not known yet when this is sent"),
        ('response_headers.add.X-A = "{env.LBFLASK_TEST_GONE}"', "LBFLASK_TEST_GONE of the environment is not set"),
        ('request_headers.set.Host = "a"', "may not be changed: see `host` and preserve_host"),
        ('response_headers.set.Content-Length = "1"', "may not be changed: it belongs to one connection"),
        (
            'request_headers = { set = { X-A = "1" }, remove = ["x-a"] }',
            "request_headers.set: 'X-A' is in remove already",
        ),
        ('response_headers.rewrite_location = { "app:8000" = "/" }', "must begin with http://, https:// or /"),
        ('request_headers.rewrite_location = { "/a" = "/" }', "request_headers.rewrite_location' (its value is"),
        ('request_headers = { X-A = "b" }', "request_headers.X-A' (its value is ***); there are add, default,"),
    ],
)
@pytest.mark.parametrize(
    "level", ["", "[pools.api]\nbackends = ['http://b:2']\n", "[[routes]]\nname = 'r'\npool = 'default'\n"]
)
def test_a_mistake_is_named_at_each_level(tmp_path: Path, level: str, line: str, message: str) -> None:
    route = "" if "routes" in level else "[[routes]]\nname = 'all'\nsplit = { default = 50, api = 50 }\n"
    api = "" if "pools" in level or "routes" in level else "[pools.api]\nbackends = ['http://b:2']\n"
    file = tmp_path / "lbflask.toml"
    file.write_text(f'backends = ["http://a:1"]\n{level}{line}\n{api}{route}')
    with pytest.raises(ConfigError) as caught:
        load({"LBFLASK_CONFIG": str(file)})
    assert str(caught.value).startswith(f"{file}:{2 + level.count(chr(10))}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("table", ["request_headers", "response_headers"])
@pytest.mark.parametrize("edit", ["set", "add", "default"])
def test_a_variable_of_the_environment_cannot_end_a_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, edit: str
) -> None:
    monkeypatch.setenv("LBFLASK_TEST_KEY", "secret\n")  # as of a file, or of a Secret of Kubernetes
    file = tmp_path / "lbflask.toml"
    file.write_text(f'backends = ["http://a:1"]\n{table}.{edit}.X-Key = "{{env.LBFLASK_TEST_KEY}}"\n')
    with pytest.raises(ConfigError) as error:
        load({"LBFLASK_CONFIG": str(file)})
    assert str(error.value).startswith(f"{file}:2: {table}.{edit}.X-Key = ")
    assert "LBFLASK_TEST_KEY of the environment ends in a line break" in str(error.value)
    assert "secret" not in str(error.value)
