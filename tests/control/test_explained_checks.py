"""An explanation has what bans, access, authentication and the limit of a client do to the request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devtools.certificates import Authority
from lbflask.core.bans import Ban
from tests.control.servers import Counter

JWT = {"jwt": {"jwks": "https://login.example/keys", "issuer": "https://login.example", "audience": ["shop"]}}
FORWARD = {"forward": "https://login.example/check?key=5ecret"}
CORS = {"origins": ["https://shop.example"]}
PREFLIGHT = ["Origin: https://shop.example", "Access-Control-Request-Method: PUT"]


def explained(settings: dict[str, Any], url: str = "/", **asked: Any) -> tuple[list[tuple[str, str, str]], str]:
    """The checks, as name, outcome and pool, and the answer."""
    counter = Counter(**settings)
    found = counter.act("POST", "/explain", json={"method": "GET", "url": url, "client": "192.0.2.1", **asked})
    assert bool(found["pools"]) is not bool(found["answer"])
    return [(check["check"], check["outcome"], check["pool"]) for check in found["checks"]], found["answer"]


def test_without_checks_there_are_none() -> None:
    assert explained({}) == ([], "")


@pytest.mark.parametrize(
    ("settings", "asked", "checks", "answer"),
    [
        ({"access": {"allow": ["192.0.2.0/24"]}}, {}, [("access", "passes", "")], ""),
        ({"access": {"deny": ["192.0.2.0/24"]}}, {}, [("access", "refuses", "")], "403: 192.0.2.1 is not admitted"),
        ({"limits": {"per_client": 9}}, {}, [("client_limit", "depends", "")], ""),
        ({"auth": JWT}, {}, [("auth", "refuses", "")], "401: a token is needed"),
        (
            {"auth": JWT},
            {"headers": ["Authorization: Bearer a b"]},
            [("auth", "refuses", "")],
            "400: the credentials are no token",
        ),
        ({"auth": JWT}, {"headers": ["Authorization: Bearer x"]}, [("auth", "depends", "")], ""),
        ({"auth": FORWARD}, {}, [("auth", "depends", "")], ""),
        ({"auth": JWT, "cors": CORS}, {"method": "OPTIONS", "headers": PREFLIGHT}, [("auth", "passes", "")], ""),
        (
            {"auth": JWT},
            {"method": "OPTIONS", "headers": PREFLIGHT},
            [("auth", "refuses", "")],
            "401: a token is needed",
        ),
        (
            {"access": {"deny": ["192.0.2.0/24"]}, "auth": JWT, "limits": {"per_client": 9}},
            {},
            [("client_limit", "depends", ""), ("access", "refuses", "")],
            "403: 192.0.2.1 is not admitted",
        ),
    ],
)
def test_each_check_passes_refuses_or_depends_and_the_first_refusal_is_the_answer(
    settings: dict[str, Any], asked: dict[str, Any], checks: list[tuple[str, str, str]], answer: str
) -> None:
    assert explained(settings, **asked) == (checks, answer)


def test_a_service_is_named_without_its_password() -> None:
    found = Counter(auth=FORWARD).act("POST", "/explain", json={"method": "GET", "url": "/"})
    (check,) = found["checks"]
    assert "login.example/check" in check["why"]
    assert "5ecret" not in check["why"]


def test_a_banned_client_is_refused_whatever_the_route_but_health_is_not() -> None:
    counter = Counter(routes=[{"name": "a", "match": {"path": "/a"}, "respond": {"status": 200, "body": "a"}}])
    counter.facts.write_ban(Ban("192.0.2.0/24", 0.0, actor="web1", rule="login"), 600)
    counter.fleet.refresh()
    for path, answer in (("/a", "403: "), ("/b", "403: "), ("/health", "the health ")):
        asked = {"method": "GET", "url": path, "client": "192.0.2.9"}
        found = counter.act("POST", "/explain", json=asked)
        assert found["answer"].startswith(answer)
        assert [check["check"] for check in found["checks"]] == ([] if path == "/health" else ["ban"])
    assert counter.act("POST", "/explain", json={"method": "GET", "url": "/b", "client": "192.0.3.9"})["answer"] == ""


def test_pools_of_a_split_with_other_networks_have_checks_of_their_own() -> None:
    pools = {
        "a": {"backends": ["http://10.0.0.3:80"], "access": {"allow": ["192.0.2.1"]}},
        "b": {"backends": ["http://10.0.0.4:80"], "access": {"allow": ["198.51.100.1"]}},
    }
    routes = [{"name": "split", "match": {"path": "/"}, "split": {"a": 50, "b": 50}, "split_by": "cookie:s"}]
    settings = {"pools": pools, "routes": routes}
    assert explained(settings) == ([("access", "passes", "a"), ("access", "refuses", "b")], "")
    refused = [("access", "refuses", "")]
    assert explained(settings, client="203.0.113.1") == (refused, "403: 203.0.113.1 is not admitted")


def test_a_route_for_clients_with_certificates_depends_on_them_and_has_checks_of_its_own(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.pair("shop.example")
    asks = {"client_certificates": "optional", "client_ca": authority.ca_file}
    route = {"name": "a", "match": {"path": "/a"}, "pool": "default", "client_certificate": True, "auth": "none"}
    settings = {
        "listeners": [{"bind": "127.0.0.1:8443", "tls": True, **asks}],
        "tls": {"certificate": pair.certificate, "key": pair.key},
        "routes": [route],
        "auth": JWT,
    }
    assert explained(settings, "/a") == ([("client_certificate", "depends", "")], "")
    assert explained(settings, "/b") == ([("auth", "refuses", "")], "401: a token is needed")
