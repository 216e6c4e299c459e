from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from lbflask.importers.document import finding_lines, text_of
from lbflask.importers.site import UnreadableConfiguration
from lbflask.importers.traefik.reader import read
from tests.support.changes import property_test

test_any_configuration_is_read_or_refused = property_test("imported_traefik")


def imported(text: str, tmp_path: Path) -> tuple[dict[str, Any], list[str]]:
    """The result as a document, and the findings."""
    file = tmp_path / "dynamic.yaml"
    file.write_text(text, "utf-8")
    site = read([str(file)])
    return tomllib.loads(text_of(site, "lbflask import")), list(finding_lines(site.findings))


def test_the_longest_rule_comes_first(tmp_path: Path) -> None:
    text = """http:
  routers:
    a: {rule: "PathPrefix(`/`)", service: a}
    b: {rule: "Host(`x.example`) && Path(`/b`)", service: b}
  services:
    a: {loadBalancer: {servers: [{url: "http://a:1"}]}}
    b: {loadBalancer: {servers: [{url: "http://b"}]}}
"""
    document, findings = imported(text, tmp_path)
    assert findings == []
    assert [(route["pool"], route.get("match")) for route in document["routes"]] == [
        ("b", {"host": "x.example", "exact": "/b"}),
        ("a", None),
    ]
    assert document["pools"]["b"]["backends"] == ["http://b:80"]


def test_a_router_that_no_request_reaches_is_listed(tmp_path: Path) -> None:
    text = """http:
  routers:
    a: {rule: "PathPrefix(`/`)", priority: 9, service: a}
    b: {rule: "Path(`/b`)", priority: 8, service: a}
  services:
    a: {loadBalancer: {servers: [{url: "http://a:1"}]}}
"""
    _, findings = imported(text, tmp_path)
    assert findings == [
        "dynamic.yaml:4: different: router b: Path(`/b`): no request reaches it: rules before it match all of them"
    ]


def test_a_file_that_is_no_yaml_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "dynamic.yaml").write_text("a: [\n")
    with pytest.raises(UnreadableConfiguration, match="line 2: "):
        read([str(tmp_path / "dynamic.yaml")])


def test_names_of_entry_points_are_compared_in_small_letters(tmp_path: Path) -> None:
    text = """entryPoints:
  webSecure: {address: ":443"}
http:
  routers:
    a: {rule: "Host(`x.example`)", entryPoints: [webSecure], service: a, tls: {}}
  services:
    a: {loadBalancer: {servers: [{url: "http://a:1"}]}}
tls:
  certificates: [{certFile: a.pem, keyFile: a.key}]
"""
    document, findings = imported(text, tmp_path)
    assert findings == []
    assert document["listeners"] == [{"bind": "0.0.0.0:443", "tls": True}]


def test_prefixes_that_end_within_a_segment_are_listed(tmp_path: Path) -> None:
    text = """http:
  routers:
    a: {rule: "PathPrefix(`/api`)", service: a}
  services:
    a: {loadBalancer: {servers: [{url: "http://a:1"}]}}
"""
    _, findings = imported(text, tmp_path)
    assert findings == ["dynamic.yaml:3: different: router a: PathPrefix(`/api`): whole segments: /apix does not match"]


def test_attributes_of_a_cookie_are_kept(tmp_path: Path) -> None:
    text = """http:
  routers:
    a: {rule: "PathPrefix(`/`)", service: a}
  services:
    a:
      loadBalancer:
        sticky: {cookie: {name: s, secure: true, httpOnly: true, sameSite: strict, maxAge: 60}}
        servers: [{url: "http://a:1"}]
"""
    document, _ = imported(text, tmp_path)
    assert document["pools"]["a"]["sticky"] == {
        "cookie": "s",
        "secure": True,
        "same_site": "strict",
        "max_age": 60,
    }


def test_labels_of_tcp_are_listeners(tmp_path: Path) -> None:
    (tmp_path / "traefik.yaml").write_text("entryPoints:\n  db: {address: ':5432'}\n")
    (tmp_path / "compose.yaml").write_text(
        """services:
  db:
    labels:
      - traefik.tcp.routers.db.rule=HostSNI(`*`)
      - traefik.tcp.routers.db.entrypoints=db
      - traefik.tcp.services.db.loadbalancer.server.port=5432
"""
    )
    site = read([str(tmp_path / "traefik.yaml"), str(tmp_path / "compose.yaml")])
    document = tomllib.loads(text_of(site, "lbflask import"))
    assert document["listeners"] == [{"bind": "0.0.0.0:5432", "tcp": "db"}]
    assert document["pools"]["db"]["backends"] == ["tcp://db:5432"]
    assert list(site.findings) == []


def test_settings_of_all_backends_are_at_the_top_level(tmp_path: Path) -> None:
    text = "serversTransport: {insecureSkipVerify: true, forwardingTimeouts: {dialTimeout: 2s}}\n"
    document, findings = imported(text, tmp_path)
    assert findings == []
    assert document["backend_tls"] == {"verify": False}
    assert document["timeouts"] == {"connect": 2}


def test_hashes_that_are_guessed_too_fast_are_listed(tmp_path: Path) -> None:
    text = """http:
  routers:
    a: {rule: "PathPrefix(`/`)", middlewares: [m], service: a}
  middlewares:
    m: {basicAuth: {users: ["ann:$apr1$H6uskkkW$IgXLP6ewTrSuBkTrqE8wj/"]}}
  services:
    a: {loadBalancer: {servers: [{url: "http://a:1"}]}}
"""
    document, findings = imported(text, tmp_path)
    assert document["auth"]["basic"]["file"] == "m.htpasswd"
    assert findings == [
        "dynamic.yaml:3: not translated: user ann: its password is not in the file: "
        "MD5 is guessed too fast; write it anew with `htpasswd -B FILE USER` (bcrypt), or as Argon2"
    ]
