"""A service decides about requests: its answers reach clients and backends, and nothing opens without it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.ports import free_port
from devtools.servers import Gunicorn, HttpResponse, get, urls
from devtools.wait import eventually
from tests.support.auth_service import AuthService

pytestmark = pytest.mark.e2e

ALICE, BOB = {"Cookie": "theme=dark; session=s3cret"}, {"Cookie": "session=other"}


@pytest.fixture(scope="module")
def _service() -> Iterator[AuthService]:
    with AuthService() as service:
        yield service


@pytest.fixture
def service(_service: AuthService) -> Iterator[AuthService]:
    """The service as it was in the beginning."""
    _service.asked.clear()
    yield _service
    _service.failure, _service.sets_cookie, _service.cache_control = "", False, ""


@pytest.fixture(scope="module")
def balancer(
    store: str, demos: list[int], _service: AuthService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gunicorn]:
    service, file = _service, tmp_path_factory.mktemp("forward-auth") / "lbflask.toml"
    cached = f'{{ url = "{service.url}/check", cache = 60, cache_by = "credentials" }}'
    file.write_text(f"""
backends = {urls(demos).split(",")}
auth = {{ forward = {{ url = "{service.url}/check", timeout = 1.0 }} }}

[[routes]]
match = {{ path = "/cached" }}
pool = "default"
strip_prefix = true
auth = {{ forward = {cached} }}

[[routes]]
match = {{ path = "/secret" }}
respond = {{ status = 200, body = "the secret" }}

[[routes]]
match = {{ path = "/" }}
pool = "default"
""")
    with Gunicorn(workers=1, config=file, redis_url=store) as running:
        yield running
        running.assert_no_traceback()


def echoed(response: HttpResponse) -> list[str]:
    assert response.status == 200, response.body
    return response.body.decode().splitlines()


def findings(balancer: Gunicorn) -> str:
    return get(balancer.admin_port, "/api/v1/state").body.decode()


def asked(service: AuthService) -> list[dict[str, str]]:
    return [fields for path, fields in service.asked if path == "/check"]


def test_strangers_are_sent_to_the_login_and_users_to_the_backends(balancer: Gunicorn, service: AuthService) -> None:
    stranger = get(balancer.port, "/echo?x=1", headers={"Host": "shop.example", "Remote-User": "root"})
    assert stranger.status == 302
    assert stranger.field("Location") == "https://login.example/?rd=https://shop.example/echo?x=1"
    assert stranger.field("Set-Cookie") == "csrf=1; Secure"
    assert stranger.body == b"<a href=login>log in</a>"
    (fields,) = asked(service)
    assert fields["X-Forwarded-Method"] == "GET"
    assert fields["X-Forwarded-Proto"] == "http"
    assert fields["X-Forwarded-For"] == "127.0.0.1"
    assert "Remote-User" not in fields
    script = get(balancer.port, "/echo", "POST", {"Accept": "application/json"}, b"x" * 100_000)
    assert (script.status, script.body) == (401, b'{"login": "needed"}')
    assert asked(service)[-1]["X-Forwarded-Method"] == "POST"
    assert "Content-Length" not in asked(service)[-1]

    forged = {"Remote-User": "root", "REMOTE_USER": "root", "Remote-Groups": "admin", "Remote-Email": "root@x"}
    lines = echoed(get(balancer.port, "/echo", headers={**ALICE, **forged, "Connection": "Remote-User"}))
    assert sorted(line for line in lines if line.lower().startswith(("remote", "x-internal"))) == [
        "Remote-Groups: staff,dev",
        "Remote-User: alice",
    ]
    refused = get(balancer.port, "/secret", headers=BOB)
    assert (refused.status, refused.body) == (403, b"bob may not")
    assert get(balancer.port, "/secret", headers=ALICE).body == b"the secret"
    eventually(lambda: 'user="alice"' in balancer.output, "the user in the log")
    assert "cause=auth" in balancer.output


def test_cookies_of_the_service_reach_the_client(balancer: Gunicorn, service: AuthService) -> None:
    service.sets_cookie = True
    response = get(balancer.port, "/echo", headers=ALICE)
    assert response.status == 200
    assert response.field("Set-Cookie") == "session=renewed"
    assert get(balancer.port, "/secret", headers=ALICE).field("Set-Cookie") == "session=renewed"


@pytest.mark.parametrize("failure", ["status", "hang", "large", "down"])
def test_without_a_decision_no_request_passes(balancer: Gunicorn, service: AuthService, failure: str) -> None:
    assert get(balancer.port, "/echo", headers=ALICE).status == 200
    before = len(balancer.output)
    service.failure = failure
    if failure == "down":
        service.stop()
    for path in ("/echo", "/secret"):
        response = get(balancer.port, path, headers=ALICE)
        assert response.status == 503, response.body
        assert response.field("Retry-After")
        assert b"secret" not in response.body
    eventually(lambda: "cause=auth_unavailable" in balancer.output[before:], "the cause")
    assert f"auth.forward.url: {service.url}/check: " in findings(balancer)
    assert re.search(r'cause=auth_unavailable cut="the authentication service', balancer.output[before:])
    service.failure = ""
    if failure == "down":
        service.start()
    eventually(lambda: get(balancer.port, "/echo", headers=ALICE).status == 200, "it is back")


def test_verdicts_are_kept_only_where_that_is_configured(balancer: Gunicorn, service: AuthService) -> None:
    for _ in range(3):
        echoed(get(balancer.port, "/echo", headers=ALICE))
    assert len(asked(service)) == 3
    for number in range(5):
        lines = echoed(get(balancer.port, f"/cached/echo?{number}", headers=ALICE))
        assert "Remote-User: alice" in lines
    assert len(asked(service)) == 4
    lines = echoed(get(balancer.port, "/cached/echo", headers=BOB))
    assert "Remote-User: bob" in lines
    assert get(balancer.port, "/cached/echo").status == 302
    service.cache_control = "no-store"
    before = len(asked(service))
    for _ in range(3):
        echoed(get(balancer.port, "/cached/echo", headers={"Cookie": "session=s3cret; fresh=1"}))
    assert len(asked(service)) == before + 3


def test_a_service_behind_its_own_check_ends_at_the_second_request(
    store: str, demos: list[int], tmp_path: Path
) -> None:
    file, log = tmp_path / "lbflask.toml", tmp_path / "access.log"
    port = free_port()
    file.write_text(f"""
backends = {urls(demos).split(",")}
bind = "127.0.0.1:{port}"
access_log = "{log}"
auth = {{ forward = "http://127.0.0.1:{port}/check" }}
""")
    with Gunicorn(workers=1, config=file, redis_url=store, bind=None) as balancer:
        balancer.port = port
        assert get(port, "/echo").status == 503
        lines = eventually(lambda: len(log.read_text().splitlines()) >= 2 and log.read_text().splitlines(), "the log")
        assert len(lines) == 2
        assert 'give the path of the service a route with auth = \\x22none\\x22"' in lines[0]
        balancer.assert_no_traceback()
