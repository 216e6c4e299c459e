"""Bearer tokens before real backends: forged ones, rotated keys, and a source of keys that is down."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from devtools.servers import Gunicorn, HttpResponse, get, urls
from devtools.wait import eventually
from tests.support.auth_service import AuthService

pytestmark = pytest.mark.e2e

FIRST, SECOND = (rsa.generate_private_key(65537, 2048) for _ in range(2))
ISSUER = "https://login.example"


def public(key: rsa.RSAPrivateKey, kid: str) -> dict[str, Any]:
    return {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig"}


def bearer(key: Any = FIRST, kid: str = "first", algorithm: str = "RS256", **claims: Any) -> dict[str, str]:
    now = int(time.time())
    usual = {"iss": ISSUER, "aud": "shop", "sub": "alice", "exp": now + 600, "groups": ["staff", "dev"]}
    return {"Authorization": f"Bearer {jwt.encode(usual | claims, key, algorithm, {'kid': kid})}"}


@contextmanager
def serving() -> Iterator[AuthService]:
    with AuthService() as service:
        service.keys = [public(FIRST, "first")]
        yield service


@contextmanager
def started(store: str, demos: list[int], service: AuthService, directory: Path) -> Iterator[Gunicorn]:
    file = directory / "lbflask.toml"
    (directory / "keys.json").write_text(json.dumps({"keys": [public(SECOND, "of-file")]}))
    file.write_text(f"""
backends = {urls(demos).split(",")}

[[routes]]
match = {{ path = "/file" }}
pool = "default"
strip_prefix = true
auth = {{ jwt = {{ jwks = "file:keys.json", keep_token = false }} }}

[[routes]]
match = {{ path = "/" }}
pool = "default"

[routes.auth.jwt]
jwks = "{service.url}/keys"
issuer = "{ISSUER}"
audience = "shop"
fields = {{ sub = "X-Forwarded-User", groups = "X-Groups" }}
""")
    with Gunicorn(workers=1, config=file, redis_url=store) as running:
        eventually(lambda: get(running.port, "/echo", headers=bearer()).status == 200, "the keys are there")
        yield running
        running.assert_no_traceback()


@pytest.fixture(scope="module")
def service() -> Iterator[AuthService]:
    with serving() as service:
        yield service


@pytest.fixture(scope="module")
def balancer(
    store: str, demos: list[int], service: AuthService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gunicorn]:
    with started(store, demos, service, tmp_path_factory.mktemp("token-auth")) as running:
        yield running


def echoed(response: HttpResponse) -> list[str]:
    assert response.status == 200, response.body
    return response.body.decode().splitlines()


def fetches(service: AuthService) -> int:
    return sum(path == "/keys" for path, _ in service.asked)


def test_a_valid_token_names_the_user(balancer: Gunicorn) -> None:
    forged = {"X-Forwarded-User": "root", "X-Groups": "admin", "X_Groups": "admin"}
    lines = echoed(get(balancer.port, "/echo", headers={**bearer(), **forged}))
    assert [line for line in lines if "groups" in line.lower()] == ["X-Groups: staff,dev"]
    assert [line for line in lines if "forwarded-user" in line.lower()] == ["X-Forwarded-User: alice"]
    assert [line for line in lines if line.startswith("Authorization: Bearer")]
    of_file = echoed(get(balancer.port, "/file/echo", headers=bearer(SECOND, "of-file")))
    assert "X-Forwarded-User: alice" in of_file
    assert not [line for line in of_file if line.startswith("Authorization")]
    eventually(lambda: 'user="alice"' in balancer.output, "the user in the log")


def test_other_tokens_are_refused(balancer: Gunicorn) -> None:
    missing = get(balancer.port, "/echo")
    assert (missing.status, missing.field("WWW-Authenticate")) == (401, "Bearer")
    now = int(time.time())
    none = jwt.encode({"sub": "root", "iss": ISSUER, "aud": "shop", "exp": now + 60}, None, "none")
    for wrong, reason in [
        (bearer(exp=now - 100), "it has expired"),
        (bearer(nbf=now + 100), "it is not valid yet"),
        (bearer(aud="other"), "it is for another audience"),
        (bearer(iss="https://evil.example"), "it is of another issuer"),
        (bearer(SECOND), "its signature is not by a known key"),
        (bearer("s" * 64, algorithm="HS256"), "its algorithm is not allowed"),
        ({"Authorization": f"Bearer {none}"}, "it is no signed token"),
        ({"Authorization": "Bearer " + "x" * 8050}, "it is longer than 8000 characters"),
    ]:
        response = get(balancer.port, "/echo", headers=wrong)
        assert response.status == 401, reason
        expected = f'Bearer error="invalid_token", error_description="{reason}"'
        assert response.field("WWW-Authenticate") == expected


def test_rotated_keys_are_found_with_one_fetch(store: str, demos: list[int], tmp_path: Path) -> None:
    with serving() as service, started(store, demos, service, tmp_path) as balancer:
        before = fetches(service)
        service.keys = [public(FIRST, "first"), public(SECOND, "second")]
        echoed(get(balancer.port, "/echo", headers=bearer(SECOND, "second")))
        assert fetches(service) == before + 1
        for number in range(20):
            assert get(balancer.port, "/echo", headers=bearer(SECOND, f"unknown-{number}")).status == 401
        assert fetches(service) <= before + 2


def test_keys_are_kept_while_their_source_is_down(store: str, demos: list[int], tmp_path: Path) -> None:
    with serving() as service, started(store, demos, service, tmp_path) as balancer:
        service.failure = "status"
        assert get(balancer.port, "/echo", headers=bearer(SECOND, "second")).status == 401
        eventually(lambda: "responded 500; the last keys are in use" in balancer.output, "the warning")
        echoed(get(balancer.port, "/echo", headers=bearer(jti="another")))


def test_a_reload_keeps_the_keys_of_a_source_that_is_down(store: str, demos: list[int], tmp_path: Path) -> None:
    with serving() as service, started(store, demos, service, tmp_path) as balancer:
        service.stop()
        file = tmp_path / "lbflask.toml"
        file.write_text(file.read_text().replace("audience =", "refresh = 60\naudience ="))
        os.kill(balancer.pid, signal.SIGHUP)
        eventually(lambda: "the last keys are in use" in balancer.output, "the new configuration has asked in vain")
        echoed(get(balancer.port, "/echo", headers=bearer(jti="another")))


@pytest.mark.long
def test_without_any_keys_no_token_counts(store: str, demos: list[int], tmp_path: Path) -> None:
    with serving() as service:
        service.stop()
        file = tmp_path / "lbflask.toml"
        jwks = f'auth = {{ jwt = {{ jwks = "{service.url}/keys" }} }}'
        file.write_text(f"backends = {urls(demos).split(',')}\n{jwks}\n")
        with Gunicorn(workers=1, config=file, redis_url=store) as balancer:
            response = get(balancer.port, "/echo", headers=bearer())
            assert response.status == 503
            service.start()
            eventually(lambda: get(balancer.port, "/echo", headers=bearer()).status == 200, "the keys are there")
            balancer.assert_no_traceback()
