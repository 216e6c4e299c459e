"""Configuration of authentication: short forms, what a route has instead, and files of users."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lbflask.config.auth import AuthConfig
from lbflask.config.diff import difference
from lbflask.config.load import ConfigError, load
from lbflask.config.render import effective
from lbflask.config.schema import Config

BCRYPT = "$2y$05$" + "a" * 53


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users.htpasswd"
    file.write_text(f"alice:{BCRYPT}\n")
    return file


def config(auth: Any, *routes: dict[str, Any]) -> Config:
    paths = [{"name": f"r{number}", "match": {"path": f"/{number}"}, **route} for number, route in enumerate(routes)]
    return Config.model_validate({"backends": ["http://a:1"], "auth": auth, "routes": paths})


def test_a_path_is_a_file_of_users(users: Path) -> None:
    found = config({"basic": str(users)}).auth_of(None)
    assert found is not None
    assert found.basic is not None
    assert list(found.basic.hashes) == ["alice"]
    assert found.basic.realm == "Restricted"


def test_relative_paths_start_from_the_file(users: Path) -> None:
    file = users.with_name("lbflask.toml")
    file.write_text('backends = ["http://a:1"]\nauth = { basic = "users.htpasswd" }\n')
    auth = load({"LBFLASK_CONFIG": str(file)}).auth
    assert auth is not None
    assert auth.basic is not None
    assert auth.basic.file == str(users)


def test_a_route_inherits_replaces_or_opens(users: Path) -> None:
    own = {"basic": {"file": str(users), "realm": "own"}}
    pool = {"pool": "default"}
    found = config({"basic": str(users)}, pool, pool | {"auth": own}, pool | {"auth": "none"}, pool | {"auth": False})
    inherited, replaced, opened, off = map(found.auth_of, found.routes)
    assert inherited is found.auth
    assert isinstance(replaced, AuthConfig)
    assert replaced.basic is not None
    assert replaced.basic.realm == "own"
    assert opened is None
    assert off is None
    assert Config.model_validate(effective(found)).auth_of(found.routes[2]) is None


def test_a_changed_file_of_users_is_a_difference(users: Path) -> None:
    before = config({"basic": str(users)})
    users.write_text(f"bob:{BCRYPT}\n")
    assert difference(before, config({"basic": str(users)})).in_place == ("auth.basic",)


@pytest.mark.parametrize(
    ("auth", "reason"),
    [
        ("basic", 'must be "none", or a table'),
        (True, 'must be "none", or a table'),
        ({}, "lets no request pass"),
        ({"basic": "/nowhere"}, "auth.basic.file: '/nowhere' cannot be read"),
        ({"forward": "auth:4180"}, "must be a URL such as http://auth.internal:4180/check"),
        ({"forward": "http://user:secret@auth/"}, "without a user"),
        ({"forward": {"url": "http://a/", "fields": ["Cookie"]}}, "written by the balancer"),
        ({"forward": {"url": "http://a/"}, "jwt": {"jwks": "https://a/"}}, "has forward and jwt, of which"),
        ({"jwt": {"jwks": "keys.json"}}, "must be a URL such as https://login.example/jwks.json, or file:keys.json"),
        ({"jwt": {"jwks": "https://a/", "algorithms": ["HS256"]}}, "its key would be a secret"),
        ({"jwt": {"jwks": "https://a/", "algorithms": ["none"]}}, "'none' is not one of RS256"),
        ({"jwt": {"jwks": "https://a/", "algorithms": []}}, "at least 1"),
        ({"jwt": {"jwks": "file:/nowhere"}}, "auth.jwt.jwks: '/nowhere' cannot be read"),
        ({"basic": "{users}", "open": True}, "has basic and open"),
        ({"basic": {"file": "{users}", "user_field": "X-Forwarded-For"}}, "written by the balancer"),
        ({"basic": {"file": "{users}", "realm": "a\nb"}}, "printable"),
    ],
    ids=str,
)
def test_a_mistake_is_named(auth: Any, reason: str, users: Path) -> None:
    if isinstance(auth, dict) and "basic" in auth:
        basic = auth["basic"]
        file = {"file": str(users)}
        basic = basic | file if isinstance(basic, dict) else str(users) if basic == "{users}" else basic
        auth = auth | {"basic": basic}
    with pytest.raises(ValidationError, match=reason):
        config(auth)


def test_a_bad_line_is_named_with_file_and_line(users: Path) -> None:
    users.write_text(f"alice:{BCRYPT}\nbob:$apr1$abc$def\n")
    file = users.with_name("lbflask.toml")
    file.write_text('backends = ["http://a:1"]\n\nauth = { basic = "users.htpasswd" }\n')
    with pytest.raises(ConfigError) as error:
        load({"LBFLASK_CONFIG": str(file)})
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{file}:3: auth.basic.file: {str(users)!r} line 2: the hash of bob: MD5")
    assert "htpasswd -B" in line
