"""What `explain` says of a request is what a worker then does with it: access, bans, credentials, limits, routes."""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from devtools.scripted_backend import OK, Peer, ScriptedBackend
from devtools.servers import Gunicorn, get
from devtools.wait import eventually

pytestmark = pytest.mark.e2e

FILE = """
namespace = "{name}"
trusted_proxies = ["127.0.0.1"]
access = {{ deny = ["203.0.113.0/24", "2001:db8:1::/48"] }}
auth = {{ basic = "users.htpasswd" }}
limits = {{ per_client = 50 }}

[pools.web]
backends = ["{url}"]

[pools.partners]
backends = ["{url}"]
access = {{ allow = ["198.51.100.0/24"] }}

[[routes]]
name = "office"
match = {{ path = "/office" }}
pool = "web"
access = {{ allow = ["10.0.0.0/8", "203.0.113.9"] }}
auth = "none"

[[routes]]
name = "fixed"
match = {{ path = "/fixed" }}
respond = {{ status = 410, body = "gone" }}

[[routes]]
name = "open"
match = {{ path = "/open" }}
redirect = "https://shop.example"
access = {{ deny = [] }}
auth = "none"

[[routes]]
name = "split"
match = {{ path = "/split" }}
split = {{ web = 50, partners = 50 }}
split_by = "header:X-User"
auth = "none"

[[routes]]
name = "partners"
match = {{ path = "/partners" }}
pool = "partners"

[[routes]]
name = "api"
match = {{ path = "/api" }}
pool = "web"
cors = {{ origins = ["https://shop.example"] }}
"""
CLIENTS = ("192.0.2.1", "203.0.113.9", "203.0.113.8", "10.1.2.3", "198.51.100.7", "192.0.2.66", "2001:db8:1::7", "::1")
BANNED = ("192.0.2.66", "198.51.100.200")
PATHS = ("/office", "/fixed", "/open", "/split", "/partners", "/api", "/nowhere", "/health")
#: Fields of requests, and whether the password is the right one.
WHO = {
    "no user": ({}, False),
    "alice": ({"Authorization": "Basic " + base64.b64encode(b"alice:secret").decode()}, True),
    "wrong": ({"Authorization": "Basic " + base64.b64encode(b"alice:guess").decode()}, False),
    "invalid": ({"Authorization": "Basic alice"}, False),
    "user 1": ({"X-User": "1"}, False),
    "user 2": ({"X-User": "2"}, False),
}
PREFLIGHT = {"Origin": "https://shop.example", "Access-Control-Request-Method": "GET"}


def answer(peer: Peer) -> None:
    while head := peer.read_head():
        peer.read_body(head)
        peer.send(OK)


@pytest.fixture(scope="module")
def balancer(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    directory = tmp_path_factory.mktemp("explain")
    Path(directory, "users.htpasswd").write_text(f"alice:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
    file = Path(directory, "lbflask.toml")
    with ScriptedBackend(answer) as backend:
        file.write_text(FILE.format(name=directory.name, url=backend.url))
        with Gunicorn(workers=1, config=file, redis_url=store, backends=None) as running:
            for network in BANNED:
                body = json.dumps({"network": network})
                get(running.admin_port, "/api/v1/bans", "POST", {"Content-Type": "application/json"}, body)
            banned = {"X-Forwarded-For": BANNED[-1]}
            eventually(lambda: get(running.port, "/open", headers=banned).status == 403, "the last ban is known")
            yield running
            running.assert_no_traceback()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_a_worker_does_what_is_explained(balancer: Gunicorn, path: str, method: str) -> None:
    for client, (who, (credentials, is_right)) in itertools.product(CLIENTS, WHO.items()):
        fields = {**credentials, **(PREFLIGHT if method == "OPTIONS" else {})}
        status = get(balancer.port, path, method, {**fields, "X-Forwarded-For": client}).status
        asked = {"method": method, "url": path, "client": client, "headers": [f"{k}: {v}" for k, v in fields.items()]}
        found = explained(balancer, asked)
        outcomes = [(check["check"], check["outcome"], check["pool"]) for check in found["checks"]]
        about = f"{method} {path} from {client} as {who}: {status}, but {found['answer']!r}, {outcomes}"
        if ("auth", "depends", "") in outcomes and not is_right:
            assert status == 401, about
        elif code := re.match(r"\d{3}", found["answer"]):
            assert status == int(code[0]), about
        elif any(outcome == "refuses" for _, outcome, _ in outcomes):
            assert status in (200, 403), f"one of the pools, by chance: {about}"
        else:
            assert status in (200, 204), about


def explained(balancer: Gunicorn, asked: dict[str, object]) -> dict[str, list[dict[str, str]]]:
    json_body = {"Content-Type": "application/json"}
    response = get(balancer.admin_port, "/api/v1/explain", "POST", json_body, json.dumps(asked))
    assert response.status == 200, response.body
    found: dict[str, list[dict[str, str]]] = json.loads(response.body)
    return found
