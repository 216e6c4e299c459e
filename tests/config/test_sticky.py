"""Sticky sessions as they are configured."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from lbflask.config.load import ConfigError, load
from lbflask.config.schema import Config
from lbflask.core.model import StickyCookie
from tests.support.changes import property_test
from tests.support.pool_routes import with_routes
from tests.support.toml import as_toml

SECRET, OTHER = "correct horse battery", "staple staple staple"


def config(**sticky: Any) -> Config:
    return Config.model_validate({"backends": ["http://a:1"], "sticky": sticky})


def cookie(**sticky: Any) -> StickyCookie | None:
    return config(**sticky).to_model("default").sticky


def test_there_are_none_unless_the_cookie_has_a_name() -> None:
    assert Config.model_validate({"backends": ["http://a:1"]}).to_model("default").sticky is None
    assert cookie() is None
    assert cookie(cookie="LB") == StickyCookie("LB")


def test_the_cookie_is_as_it_is_set() -> None:
    given = {"path": "/a", "domain": "shop.example", "max_age": 60, "secure": True, "http_only": False}
    made = cookie(cookie="LB", same_site="none", secrets=[SECRET, OTHER], **given)
    assert made == StickyCookie("LB", "/a", "shop.example", 60.0, True, False, "none", (SECRET, OTHER))


def test_further_pools_have_cookies_of_their_own() -> None:
    pools = {"api": {"backends": ["http://b:1"], "sticky": {"cookie": "API"}}}
    api = Config.model_validate(with_routes({"backends": ["http://a:1"], "pools": pools})).every_pool()["api"]
    assert api.to_model("api").sticky == StickyCookie("API")


def test_secrets_come_from_a_file_or_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.write_text(f"\n{SECRET}  \n\n{OTHER}\n")
    made = cookie(cookie="LB", secret_file=str(path))
    assert made is not None
    assert made.secrets == (SECRET, OTHER)
    path.unlink()  # what was read holds
    environ = {"LBFLASK_CONFIG": os.devnull, "LBFLASK_BACKENDS": "http://a:1", "LBFLASK_STICKY__COOKIE": "LB"}
    found = load(environ | {"LBFLASK_STICKY__SECRETS": f"{SECRET},{OTHER}"}).to_model("default").sticky
    assert found is not None
    assert found.secrets == (SECRET, OTHER)


@pytest.mark.parametrize(
    ("sticky", "key"),
    [
        ({"cookie": "a b"}, "sticky.cookie"),
        ({"cookie": "a=b"}, "sticky.cookie"),
        ({"cookie": "é"}, "sticky.cookie"),
        ({"cookie": "LB", "path": "a"}, "sticky.path"),
        ({"cookie": "LB", "path": "/a;b"}, "sticky.path"),
        ({"cookie": "LB", "domain": "a;b"}, "sticky.domain"),
        ({"cookie": "LB", "domain": ".a"}, "sticky.domain"),
        ({"cookie": "LB", "domain": "a:80"}, "sticky.domain"),
        ({"cookie": "LB", "max_age": 0}, "sticky.max_age"),
        ({"cookie": "LB", "same_site": "Sometimes"}, "sticky.same_site"),
        ({"cookie": "LB", "same_site": "none"}, "sticky.same_site"),
        ({"cookie": "LB", "same_site": "none", "secure": False}, "sticky.same_site"),
        ({"cookie": "__Secure-LB"}, "sticky.cookie"),
        ({"cookie": "__host-LB", "secure": True, "path": "/a"}, "sticky.cookie"),
        ({"cookie": "__Host-LB", "secure": True, "domain": "a.example"}, "sticky.cookie"),
        ({"cookie": "LB", "secret_file": "/nowhere"}, "sticky.secret_file"),
        ({"max_age": 5}, "sticky.max_age"),
        ({"secrets": [SECRET]}, "sticky.secrets"),
        ({"cookie": "LB", "cookies": "LB"}, "sticky.cookies"),
        ({"cookie": "LB", "header": "X-Session"}, "sticky.header"),
        ({"header": "Authorization"}, "sticky.header"),
        ({"header": "X-Forwarded-For"}, "sticky.header"),
        ({"header": "x session"}, "sticky.header"),
        ({"header": "X-Session", "secure": True}, "sticky.secure"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(sticky: dict[str, Any], key: str, tmp_path: Path) -> None:
    path = tmp_path / "lbflask.toml"
    lines = [
        f"{name} = {str(value).lower() if isinstance(value, bool) else repr(value)}" for name, value in sticky.items()
    ]
    path.write_text("\n".join(['backends = ["http://a:1"]', "[sticky]", *lines]))
    with pytest.raises(ConfigError) as refused:
        load({"LBFLASK_CONFIG": str(path)})
    assert key in str(refused.value)
    assert str(refused.value).startswith(str(path))


def test_prefixes_that_browsers_know_are_taken_with_what_they_ask_for() -> None:
    assert cookie(cookie="__Host-LB", secure=True) is not None
    assert cookie(cookie="__Secure-LB", secure=True, path="/a") is not None


@pytest.mark.parametrize("content", ["", "\n \n", "short\n", f"{SECRET}\nshort"])
def test_a_file_without_a_good_secret_is_refused_by_name(content: str, tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.write_text(content)
    told = refusal(cookie="LB", secret_file=str(path))
    assert "sticky.secret_file" in told
    assert "short'" not in told


def refusal(**sticky: Any) -> str:
    environ = {"LBFLASK_CONFIG": os.devnull, "LBFLASK_BACKENDS": "http://a:1"}
    given = {f"LBFLASK_STICKY__{key.upper()}": value for key, value in sticky.items()}
    with pytest.raises(ConfigError) as refused:
        load(environ | given)
    return str(refused.value)


@pytest.mark.parametrize(
    "sticky",
    [
        {"cookie": "LB", "secrets": "too-short"},
        {"cookie": "LB", "secrets": f"{SECRET},too-short"},
        {"cookie": "LB", "secrets": SECRET, "same_site": "none"},
        {"cookie": "LB", "secrets": SECRET, "secret_file": __file__},
        {"cookie": "a b", "secrets": SECRET},
        {"secrets": SECRET},
    ],
)
def test_no_secret_is_in_what_is_told_of_an_error(sticky: dict[str, str]) -> None:
    told = refusal(**sticky)
    assert "sticky." in told
    assert SECRET not in told
    assert "too-short" not in told


def test_secrets_are_masked_in_what_is_shown(tmp_path: Path) -> None:
    pools = {"api": {"backends": ["http://b:1"], "sticky": {"cookie": "API", "secrets": [OTHER]}}}
    given = {"cookie": "LB", "secrets": [SECRET, OTHER]}
    shown = as_toml(Config.model_validate(with_routes({"backends": ["http://a:1"], "sticky": given, "pools": pools})))
    assert SECRET not in shown
    assert OTHER not in shown
    read = tomllib.loads(shown)
    assert (read["sticky"]["secrets"], read["pools"]["api"]["sticky"]["secrets"]) == (["***", "***"], ["***"])


def test_secrets_are_in_no_representation() -> None:
    made = config(cookie="LB", secrets=[SECRET])
    assert SECRET not in repr(made)
    assert SECRET not in repr(made.to_model("default"))


test_any_value_is_accepted_twice_or_rejected = property_test("setting")


def test_a_session_may_be_in_a_header_field() -> None:
    assert cookie(header="X-Session", max_age=60) == StickyCookie("X-Session", max_age=60, in_header=True)
