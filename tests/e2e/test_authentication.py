"""Users with passwords before real backends: on lbflask's worker, on a stock one, and in a browser."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import argon2
import bcrypt
import pytest
from playwright.sync_api import Error as BrowserError

from devtools.servers import Gunicorn, HttpResponse, get, urls
from devtools.wait import PATIENCE, eventually
from tests.support.browser import chromium
from tests.support.selection import first_of

pytestmark = pytest.mark.e2e

FILE = """
auth = { basic = { file = "users.htpasswd", realm = "Shop \\"staff\\"" } }
access_log_format = "json"

[[routes]]
match = { path = "/open" }
pool = "default"
auth = "none"

[[routes]]
match = { path = "/login" }
pool = "default"
strip_prefix = true
auth = "none"

[[routes]]
match = { path = "/page" }
respond = { status = 200, body = "the page" }

[[routes]]
match = { path = "/api" }
pool = "default"
strip_prefix = true
cors = { origins = ["https://shop.example"] }
auth = { basic = { file = "users.htpasswd", user_field = "Remote-User", keep_credentials = true } }

[[routes]]
match = { path = "/" }
pool = "default"
"""
ALICE = "open sésame"


def hashed(password: str) -> str:
    return argon2.PasswordHasher().hash(password)


def credentials(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@dataclass(frozen=True)
class Site:
    """A balancer, and the file of its users."""

    balancer: Gunicorn
    users: Path


@pytest.fixture(scope="module", params=first_of([(), ("-k", "gthread", "--threads", "8")]), ids=["own", "gthread"])
def site(
    request: pytest.FixtureRequest, store: str, demos: list[int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("users")
    file, users = directory / "lbflask.toml", directory / "users.htpasswd"
    file.write_text(f"namespace = {directory.name!r}\nbackends = {urls(demos).split(',')}\n{FILE}")
    bob = bcrypt.hashpw(b"bobs", bcrypt.gensalt(4)).decode()
    users.write_text(f"# staff\nalice:{hashed(ALICE)}\nbob:{bob}\ndora:{hashed('doras')}\n")
    with Gunicorn(*request.param, workers=1, config=file, redis_url=store) as running:
        yield Site(running, users)
        running.assert_no_traceback()


@pytest.fixture
def balancer(site: Site) -> Gunicorn:
    return site.balancer


def checks(balancer: Gunicorn) -> dict[str, float]:
    """How many checks of passwords there were, by outcome."""
    page = get(balancer.admin_port, "/metrics").body.decode()
    pattern = r'lbflask_auth_checks_total\{kind="basic",outcome="(\w+)"\} ([0-9.e+]+)'
    return {outcome: float(count) for outcome, count in re.findall(pattern, page)}


def echoed(response: HttpResponse) -> list[str]:
    assert response.status == 200, response.body
    return response.body.decode().splitlines()


def test_only_users_with_their_passwords_get_through(balancer: Gunicorn) -> None:
    refused = get(balancer.port, "/echo")
    assert refused.status == 401
    assert refused.field("WWW-Authenticate") == 'Basic realm="Shop \\"staff\\"", charset="UTF-8"'
    for wrong in (credentials("alice", "wrong"), credentials("nobody", ALICE), {"Authorization": "Bearer x"}):
        assert get(balancer.port, "/echo", headers=wrong).status == 401
    posted = get(balancer.port, "/echo", "POST", body=b"x" * 300_000)
    assert posted.status == 401
    assert get(balancer.port, "/page").status == 401
    assert get(balancer.port, "/page", headers=credentials("bob", "bobs")).body == b"the page"
    assert get(balancer.port, "/open/echo").status in (200, 404)
    lines = echoed(get(balancer.port, "/echo", headers=credentials("alice", ALICE)))
    assert "X-Forwarded-User: alice" in lines
    assert not [line for line in lines if line.lower().startswith("authorization")]
    found = eventually(
        lambda: [one for one in logged(balancer, "/echo") if one["status"] == 200], "the line of the request"
    )
    assert {one["user"] for one in found} == {"alice"}
    assert {one["cause"] for one in logged(balancer, "/echo") if one["status"] == 401} == {"auth"}
    assert ALICE not in balancer.output


def logged(balancer: Gunicorn, target: str) -> list[dict[str, object]]:
    """The lines of the access log about the target."""
    lines = (json.loads(line) for line in balancer.output.splitlines() if line.startswith('{"time"'))
    return [line for line in lines if line["target"] == target]


def test_the_fields_of_strangers_never_name_the_user(balancer: Gunicorn) -> None:
    forged = {
        **credentials("bob", "bobs"),
        "X-Forwarded-User": "root",
        "X_Forwarded_User": "root",
        "Connection": "X-Forwarded-User, keep-alive",
    }
    lines = echoed(get(balancer.port, "/echo", headers=forged))
    assert [line for line in lines if "forwarded-user" in line.lower().replace("_", "-")] == ["X-Forwarded-User: bob"]


def test_a_route_has_its_own_check(balancer: Gunicorn) -> None:
    bob = credentials("bob", "bobs")
    lines = echoed(get(balancer.port, "/api/echo", headers={**bob, "Remote_User": "root", "Remote-User": "root"}))
    assert [line for line in lines if line.lower().startswith("remote")] == ["Remote-User: bob"]
    assert f"Authorization: {bob['Authorization']}" in lines
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "GET"}
    assert get(balancer.port, "/api/x", "OPTIONS", headers=asked).status == 204
    assert get(balancer.port, "/api/x", "OPTIONS").status == 401
    assert get(balancer.port, "/api/x").status == 401


def test_a_thousand_requests_take_one_verification(balancer: Gunicorn) -> None:
    """By a user that no other test has."""
    dora, before = credentials("dora", "doras"), checks(balancer)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: get(balancer.port, "/echo", headers=dora).status, range(1000)))
    assert answers == [200] * 1000
    found = checks(balancer)
    assert found["allowed"] - before.get("allowed", 0) == 1
    assert found["cached"] - before.get("cached", 0) == 999


def test_other_requests_go_on_while_passwords_are_verified(balancer: Gunicorn) -> None:
    def guess(number: int) -> int:
        return get(balancer.port, "/echo", headers=credentials("alice", f"guess {number}")).status

    with ThreadPoolExecutor(12) as threads:
        guesses = [threads.submit(guess, number) for number in range(12)]
        while not all(one.done() for one in guesses):
            assert get(balancer.port, "/open/echo").status in (200, 404)
        assert {one.result() for one in guesses} <= {401, 503}


@pytest.mark.long
def test_a_browser_asks_for_the_password(balancer: Gunicorn) -> None:
    with chromium() as browser:
        with pytest.raises(BrowserError, match="ERR_INVALID_AUTH_CREDENTIALS"):  # there is no user to ask
            browser.new_page().goto(f"http://127.0.0.1:{balancer.port}/page")
        context = browser.new_context(http_credentials={"username": "alice", "password": ALICE})
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{balancer.port}/page", timeout=PATIENCE * 1000)
        assert page.inner_text("body") == "the page"


def test_no_client_states_a_user_on_a_route_without_this_check(balancer: Gunicorn) -> None:
    """A backend that trusts a field which one check writes reads it on the routes of others too, and on open ones."""
    forged = {"Remote-User": "root", "remote.user": "root", "X-Forwarded-User": "root"}
    alice = credentials("alice", ALICE)
    for path, sent, user in (
        ("/login/echo", forged, []),
        ("/echo", forged | alice, ["X-Forwarded-User: alice"]),
        ("/api/echo", forged | alice, ["Remote-User: alice"]),
    ):
        lines = echoed(get(balancer.port, path, headers=sent))
        assert [line for line in lines if "user:" in line.lower()] == user


def test_a_reload_takes_the_users_of_the_file(site: Site) -> None:
    """The last test with these users."""
    balancer, alice = site.balancer, credentials("alice", ALICE)
    assert get(balancer.port, "/echo", headers=alice).status == 200
    site.users.write_text(f"carol:{hashed('carols')}\n")
    os.kill(balancer.pid, signal.SIGHUP)
    eventually(lambda: get(balancer.port, "/echo", headers=credentials("carol", "carols")).status == 200, "carol")
    eventually(lambda: get(balancer.port, "/echo", headers=alice).status == 401, "alice is out")
    site.users.write_text("carol:$apr1$x$y\n")
    os.kill(balancer.pid, signal.SIGHUP)
    eventually(lambda: "line 1: the hash of carol: MD5" in balancer.output, "the reason")
    assert get(balancer.port, "/echo", headers=credentials("carol", "carols")).status == 200
