from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from lbflask.importers.document import finding_lines, text_of
from lbflask.importers.haproxy.reader import read
from lbflask.importers.site import FindingKind, UnreadableConfiguration
from tests.support.changes import property_test

test_any_configuration_is_read_or_refused = property_test("imported_haproxy")


def imported(text: str, tmp_path: Path) -> tuple[dict[str, Any], list[str]]:
    """The result as a document, and the findings but those that are not needed."""
    file = tmp_path / "haproxy.cfg"
    file.write_text(text, "utf-8")
    site = read([str(file)])
    shown = [one for one in site.findings if one.kind is not FindingKind.NOT_NEEDED]
    return tomllib.loads(text_of(site, "lbflask import")), list(finding_lines(shown))


def test_an_unknown_line_is_listed_and_never_dropped(tmp_path: Path) -> None:
    text = "listen a\n mode http\n bind :80\n server s 127.0.0.1:1 warp 9\n flux on\n http-request lua.x\n"
    _, findings = imported(text, tmp_path)
    assert findings == [
        "haproxy.cfg:6: not translated: http-request lua.x: no equal: a hook, or the application",
        "haproxy.cfg:4: not translated: server … warp: not known",
        "haproxy.cfg:5: not translated: flux on: no equal is known; look for it in docs/configuration.md",
    ]


def test_quotes_escapes_and_variables(tmp_path: Path) -> None:
    text = (
        'listen a # comment\n mode http\n bind :80\n server s "${APP-127.0.0.1}:1"\n'
        " http-request set-header X-A 'a b' # not this\n http-response set-header X-B c\\ d\\#e\n"
    )
    document, findings = imported(text, tmp_path)
    assert findings == []
    assert document["pools"]["a"]["backends"] == [{"url": "http://${APP:-127.0.0.1}:1", "name": "s"}]
    assert document["request_headers"] == {"set": {"X-A": "a b"}}
    assert document["response_headers"] == {"set": {"X-B": "c d#e"}}


def test_times_are_in_milliseconds_without_a_unit(tmp_path: Path) -> None:
    text = "listen a\n mode http\n bind :80\n timeout connect 2500\n timeout server 1m\n server s 127.0.0.1:1\n"
    document, _ = imported(text, tmp_path)
    assert document["pools"]["a"]["timeouts"] == {"connect": 2.5, "first_byte": 60, "between_bytes": 60}


def test_a_condition_without_an_equal_gives_no_route(tmp_path: Path) -> None:
    text = (
        "frontend f\n mode http\n bind :80\n use_backend a if { nbsrv(a) gt 1 }\n default_backend a\n"
        "backend a\n mode http\n server s 127.0.0.1:1\n"
    )
    document, findings = imported(text, tmp_path)
    assert [route["pool"] for route in document["routes"]] == ["a"]
    assert findings == [
        "haproxy.cfg:4: not translated: use_backend a if { nbsrv(a) gt 1 }: match has no equal of: nbsrv(a) gt 1"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bind :80\n", r"haproxy.cfg:1: 'bind' is in no section, such as frontend"),
        ("frontend a\n acl 'x\n", r"haproxy.cfg:2: a quote has no end"),
    ],
)
def test_a_file_that_haproxy_would_refuse_is_refused_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "haproxy.cfg").write_text(text)
    with pytest.raises(UnreadableConfiguration, match=message):
        read([str(tmp_path / "haproxy.cfg")])


BACKEND = "backend b\n mode http\n server s 127.0.0.1:1\n"


def frontend(*lines: str) -> str:
    return "\n ".join(["frontend f", "mode http", "bind :80", *lines, "default_backend b\n"])


def test_passwords_in_clear_are_in_no_file(tmp_path: Path) -> None:
    users = "userlist u\n user ann insecure-password hunter2\n"
    text = users + frontend("http-request auth unless { http_auth(u) }") + BACKEND
    document, findings = imported(text, tmp_path)
    assert document["auth"]["basic"]["file"] == "u.htpasswd"
    assert len(findings) == 1
    assert findings[0].startswith("haproxy.cfg:2: not translated: user ann: its password is not in the file: ")
    assert "hunter2" not in str(document) + str(findings)


def test_addresses_that_are_refused_are_access_with_files(tmp_path: Path) -> None:
    lines = ("http-request deny if { src -f /etc/bad.lst }", "http-request deny unless { src 10.0.0.0/8 }")
    document, findings = imported(frontend(*lines) + BACKEND, tmp_path)
    assert findings == []
    assert document["access"] == {"allow": ["10.0.0.0/8"], "deny": ["file:/etc/bad.lst"]}


@pytest.mark.parametrize(
    "condition",
    [
        "if { path /a } !{ ssl_c_used } || { path /b } !{ ssl_c_used }",
        "if { nbsrv(b) gt 1 } !{ ssl_c_used }",
        "unless { ssl_c_used } || { nbsrv(b) gt 1 }",
    ],
)
def test_a_check_whose_condition_has_no_equal_is_for_all_requests(condition: str, tmp_path: Path) -> None:
    document, findings = imported(frontend(f"http-request deny {condition}") + BACKEND, tmp_path)
    assert [found.partition(": for all requests: ")[0] for found in findings] == [
        f"haproxy.cfg:4: different: http-request deny {condition}"
    ]
    assert [route["client_certificate"] for route in document["routes"]] == [True]


def test_clients_with_a_certificate_that_are_refused_are_listed(tmp_path: Path) -> None:
    document, findings = imported(frontend("http-request deny if { ssl_c_used }") + BACKEND, tmp_path)
    assert "client_certificate" not in document["routes"][0]
    assert findings[0].startswith("haproxy.cfg:4: not translated: http-request deny if { ssl_c_used }: ")


def test_prefixes_that_end_within_a_segment_are_listed(tmp_path: Path) -> None:
    lines = ("acl api path_beg /api /v1/", "http-request deny if { path -m beg /x }", "use_backend b if api")
    _, findings = imported(frontend(*lines) + BACKEND, tmp_path)
    assert findings == [
        "haproxy.cfg:5: different: http-request deny if { path -m beg /x }: whole segments: /xx does not match",
        "haproxy.cfg:6: different: use_backend b if api: whole segments: /apix does not match",
    ]


def test_options_of_servers_are_settings_or_listed(tmp_path: Path) -> None:
    options = "observe layer7 error-limit 4 on-marked-down shutdown-sessions maxqueue 9 pool-max-conn 7 minconn 2"
    document, findings = imported(frontend() + BACKEND.replace("127.0.0.1:1", f"127.0.0.1:1 {options}"), tmp_path)
    pool = document["pools"]["b"]
    assert [pool[key] for key in ("ejection", "queue", "max_idle_connections")] == [{"failures": 4}, {"length": 9}, 7]
    assert pool["health"] == {"long_connections": "close"}
    assert findings == ["haproxy.cfg:7: not translated: server … minconn: max_connections of a backend is fixed"]


def test_rules_of_defaults_are_listed(tmp_path: Path) -> None:
    _, findings = imported("defaults\n http-request deny\n" + frontend() + BACKEND, tmp_path)
    assert findings == [
        "haproxy.cfg:2: not translated: http-request deny: rules of defaults: write them into each frontend"
    ]


def test_answers_of_a_listen_section_are_routes_once(tmp_path: Path) -> None:
    text = "listen a\n mode http\n bind :80\n http-request deny if { path /x }\n server s 127.0.0.1:1\n"
    document, findings = imported(text, tmp_path)
    assert findings == []
    assert [route.get("match") for route in document["routes"]] == [{"exact": "/x"}, None]


def test_connections_by_other_facts_than_names_are_listed(tmp_path: Path) -> None:
    text = "frontend f\n bind :443\n use_backend b if { src 10.0.0.0/8 }\nbackend b\n server s 127.0.0.1:1\n"
    _, findings = imported(text, tmp_path)
    assert findings == [
        "haproxy.cfg:3: not translated: use_backend b if { src 10.0.0.0/8 }: "
        "a listener chooses a pool by SNI only: sni, and tcp for all others",
        "haproxy.cfg:1: not translated: frontend f: no pool gets its connections",
    ]
