from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from lbflask.importers.document import finding_lines, text_of
from lbflask.importers.nginx.reader import read
from lbflask.importers.site import FindingKind, UnreadableConfiguration
from tests.support.changes import property_test

test_any_configuration_is_read_or_refused = property_test("imported_nginx")


def imported(text: str, tmp_path: Path) -> tuple[dict[str, Any], list[str]]:
    """The result as a document, and the findings but those that are not needed."""
    file = tmp_path / "nginx.conf"
    file.write_text(text, "utf-8")
    site = read([str(file)])
    shown = [one for one in site.findings if one.kind is not FindingKind.NOT_NEEDED]
    return tomllib.loads(text_of(site, "lbflask import")), list(finding_lines(shown))


def test_an_unknown_directive_is_listed_and_never_dropped(tmp_path: Path) -> None:
    _, findings = imported("server { listen 80;\n  flux_capacitor on;\n  return 404; }", tmp_path)
    assert findings == [
        "nginx.conf:2: not translated: flux_capacitor on: no equal is known; look for it in docs/configuration.md"
    ]


def test_tuning_is_listed_as_not_needed(tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text("worker_processes 4; events { worker_connections 9; }")
    findings = read([str(tmp_path / "nginx.conf")]).findings
    assert {(one.directive, str(one.kind)) for one in findings} == {
        ("worker_processes", "not needed"),
        ("worker_connections", "not needed"),
    }


def test_included_files_are_read_and_named(tmp_path: Path) -> None:
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "a.conf").write_text("server { listen 80;\n location / { grpc_pass x; } }")
    document, findings = imported("http { include sites/*.conf; }", tmp_path)
    assert document["routes"][0]["respond"]["status"] == 501
    assert findings == ["sites/a.conf:2: not translated: grpc_pass x: only HTTP and uwsgi"]


def test_files_that_include_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text("include nginx.conf;")
    with pytest.raises(UnreadableConfiguration, match="more than 10 files within files"):
        read([str(tmp_path / "nginx.conf")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server {", "nginx.conf:1: unexpected end of file, expecting"),
        ("server { listen; }", "nginx.conf:1: "),
    ],
)
def test_a_file_that_nginx_would_refuse_is_refused_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text(text)
    with pytest.raises(UnreadableConfiguration, match=message):
        read([str(tmp_path / "nginx.conf")])


def test_texts_that_lbflask_would_expand_are_escaped(tmp_path: Path) -> None:
    document, _ = imported('server { listen 80; return 200 "x"; add_header X-A "{client} {other}" always; }', tmp_path)
    assert document["response_headers"]["add"] == {"X-A": "{{client}} {other}"}


def test_what_all_routes_have_is_at_the_top_level(tmp_path: Path) -> None:
    document, _ = imported(
        """server { listen 80; client_max_body_size 5m; proxy_connect_timeout 3;
        location / { proxy_pass http://127.0.0.1:1; proxy_read_timeout 1m30s; }
        location /a/ { proxy_pass http://127.0.0.1:1; } }""",
        tmp_path,
    )
    assert document["limits"] == {"body": 5 << 20}
    assert document["timeouts"] == {"connect": 3}
    routes = {route["name"]: route for route in document["routes"]}
    assert routes["rest"]["timeouts"] == {"first_byte": 90, "between_bytes": 90, "tunnel_idle": 90}


def test_servers_of_uwsgi_are_backends(tmp_path: Path) -> None:
    document, findings = imported(
        """upstream app { server unix:/run/app.sock; server 10.0.0.1:3031; }
        server { listen 80; location / { include uwsgi_params; uwsgi_pass app; }
        location /b/ { uwsgi_pass unix:/run/b.sock; } }""",
        tmp_path,
    )
    assert findings == []
    assert [pool["backends"] for pool in document["pools"].values()] == [
        ["uwsgi:/run/app.sock", "uwsgi://10.0.0.1:3031"],
        ["uwsgi:/run/b.sock"],
    ]


def test_an_included_file_that_is_missing_is_listed(tmp_path: Path) -> None:
    _, findings = imported("include mime.types;\ninclude none.conf;\nserver { return 404; }", tmp_path)
    assert findings == ["nginx.conf:2: not translated: include none.conf: the file is not here; import it where it is"]


def test_passwords_and_compression(tmp_path: Path) -> None:
    document, findings = imported(
        """server { listen 80; gzip on; gzip_types text/css; location / { proxy_pass http://127.0.0.1:1; }
        location /a/ { auth_basic Staff; auth_basic_user_file /etc/users; proxy_pass http://127.0.0.1:1; } }""",
        tmp_path,
    )
    assert document["compression"] == {"encodings": ["gzip"], "types": ["text/html", "text/css"], "min_length": 20}
    assert [route.get("auth") for route in document["routes"] if route["match"].get("path") == "/a"] == [
        {"basic": {"file": "/etc/users", "realm": "Staff", "keep_credentials": True}}
    ]
    assert [line.rpartition(": ")[0] for line in findings] == [
        "nginx.conf:2: different: auth_basic_user_file /etc/users"
    ]


def test_the_scheme_of_a_redirect_is_that_of_the_server(tmp_path: Path) -> None:
    document, _ = imported("server { listen 80; return 301 $scheme://www.example.com$request_uri; }", tmp_path)
    assert document["routes"][0]["redirect"]["to"] == "http://www.example.com{path}{query}"


def test_a_redirect_to_a_host_that_a_request_chooses_is_listed(tmp_path: Path) -> None:
    document, findings = imported("server { listen 80; return 301 https://$http_x_host/; }", tmp_path)
    assert document["routes"][0]["respond"]["status"] == 501
    assert "a variable without an equal" in findings[0]


def test_what_nginx_does_before_it_asks_for_passwords_has_none(tmp_path: Path) -> None:
    document, _ = imported(
        """server { listen 80; auth_basic Staff; auth_basic_user_file /u; deny 10.0.0.0/8;
        location /a/ { proxy_pass http://127.0.0.1:1; } location = /b { return 200 x; } }""",
        tmp_path,
    )
    checked = [(route["match"], route["access"]) for route in document["routes"] if "auth" in route]
    assert checked == [({"path": path}, {"deny": ["10.0.0.0/8"]}) for path in ("/", "/a")]
    assert sum("access" in route for route in document["routes"]) == 2


def test_networks_and_passwords_that_cannot_be_alternatives_are_both_needed(tmp_path: Path) -> None:
    document, findings = imported(
        """server { listen 80; satisfy any; allow 10.1.0.0/16; deny 10.0.0.0/8; auth_basic A; auth_basic_user_file /u;
        location / { proxy_pass http://127.0.0.1:1; } }""",
        tmp_path,
    )
    assert {"auth", "access"} <= document.keys()
    assert any(": not translated: satisfy any: both are needed here" in line for line in findings)


def test_bounds_of_kept_connections_and_cookies_of_an_upstream(tmp_path: Path) -> None:
    document, findings = imported(
        """upstream app { server 10.0.0.1;
        keepalive 16; keepalive_requests 500; keepalive_time 30m; keepalive_timeout 30s;
        sticky cookie srv expires=1h domain=.shop.example path=/a secure; }
        server { listen 80; location / { proxy_pass http://app; } }""",
        tmp_path,
    )
    assert findings == []
    pool = document["pools"]["app"]
    kept = ("max_idle_connections", "backend_max_requests", "backend_max_age", "backend_keepalive")
    assert [pool[key] for key in kept] == [16, 500, 1800, 30]
    sticky = {"cookie": "srv", "path": "/a", "domain": "shop.example", "max_age": 3600, "secure": True}
    assert pool["sticky"] == sticky


def test_rates_are_limited_by_fields_too(tmp_path: Path) -> None:
    document, _ = imported(
        """limit_req_zone $http_x_api_key zone=keys:1m rate=5r/s;
        server { listen 80; location / { limit_req zone=keys; proxy_pass http://127.0.0.1:1; } }""",
        tmp_path,
    )
    assert document["rate_limits"]["keys"] == {"rate": "5/s", "burst": 1, "key": "header:x-api-key"}


def test_the_access_log_keeps_its_format(tmp_path: Path) -> None:
    document, findings = imported("server { listen 80; access_log /l combined if=$x; return 404; }", tmp_path)
    assert (document["access_log"], document["access_log_format"]) == ("/l", "combined")
    assert findings == [
        "nginx.conf:1: not translated: access_log /l combined if=$x: "
        "access_log_filter has statuses, and prefixes of paths"
    ]


def test_larger_heads_are_limits(tmp_path: Path) -> None:
    document, findings = imported("server { listen 80; large_client_header_buffers 4 32k; return 404; }", tmp_path)
    assert document["limits"]["field_size"] == 32 << 10
    assert findings == [
        "nginx.conf:1: different: large_client_header_buffers 4 32k: a request line has at most 8190 bytes"
    ]


def test_a_service_that_the_configuration_does_not_name_is_listed(tmp_path: Path) -> None:
    _, findings = imported(
        "server { listen 80; location /a/ { auth_request /none; proxy_pass http://127.0.0.1:1; } }", tmp_path
    )
    assert findings[0].startswith("nginx.conf:1: not translated: auth_request /none: ")


def test_proxies_in_front_without_networks_are_listed(tmp_path: Path) -> None:
    document, findings = imported("server { listen 80 proxy_protocol; return 404; }", tmp_path)
    assert "proxy_protocol" not in document["listeners"][0]
    assert findings == [
        "nginx.conf:1: not translated: listen 80 proxy_protocol: "
        "name the networks of the proxy in front in listeners.proxy_protocol"
    ]
