from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from lbflask.importers.caddy.reader import read
from lbflask.importers.document import finding_lines, text_of
from lbflask.importers.site import FindingKind, UnreadableConfiguration
from tests.support.changes import property_test

test_any_configuration_is_read_or_refused = property_test("imported_caddy")


def imported(text: str, tmp_path: Path) -> tuple[dict[str, Any], list[str]]:
    """The result as a document, and what is not translated."""
    file = tmp_path / "Caddyfile"
    file.write_text(text, "utf-8")
    site = read([str(file)])
    lost = [one for one in site.findings if one.kind is FindingKind.NOT_TRANSLATED]
    return tomllib.loads(text_of(site, "lbflask import")), list(finding_lines(lost))


def test_a_file_without_braces_is_one_site(tmp_path: Path) -> None:
    document, _ = imported("http://shop.example\nreverse_proxy localhost:8000\n", tmp_path)
    assert [route["match"] for route in document["routes"]] == [{"host": "shop.example"}]
    assert document["listeners"] == [{"bind": "0.0.0.0:80"}]


def test_snippets_with_arguments_and_variables_are_expanded(tmp_path: Path) -> None:
    snippet = '(app) {\n reverse_proxy {args[0]}:{$PORT:8000}\n header X-A "{http.request.host} {env.REGION}"\n}\n'
    text = snippet + ":80 {\n import app web\n}\n"
    document, findings = imported(text, tmp_path)
    assert findings == []
    assert [pool["backends"] for pool in document["pools"].values()] == [["http://web:${PORT:-8000}"]]
    assert document["response_headers"] == {"set": {"X-A": "{host} {env.REGION}"}}


def test_names_get_certificates_and_redirects(tmp_path: Path) -> None:
    document, _ = imported("{\n email a@b.example\n}\nshop.example {\n reverse_proxy app:1\n}\n", tmp_path)
    assert document["tls"]["acme"] == {"domains": ["shop.example"], "email": "a@b.example"}
    assert {"bind": "0.0.0.0:80", "redirect": "https"} in document["listeners"]


def test_a_user_whose_hash_cannot_be_used_is_listed(tmp_path: Path) -> None:
    document, findings = imported(":80 {\n basic_auth {\n  ann $2y$x\n }\n reverse_proxy app:1\n}\n", tmp_path)
    assert document["auth"]["basic"]["file"] == "users.htpasswd"
    assert len(findings) == 1
    assert findings[0].startswith("Caddyfile:3: not translated: user ann: its password is not in the file: ")


def test_a_check_of_a_site_is_one_of_its_blocks_too(tmp_path: Path) -> None:
    text = """:80 {
 forward_auth /admin/* auth:1
 header /admin/* X-A 1
 handle /api/* {
  reverse_proxy api:1
 }
 handle {
  reverse_proxy app:1
 }
}
"""
    document, findings = imported(text, tmp_path)
    assert findings == []
    routes = [(route.get("match"), route["pool"], "auth" in route) for route in document["routes"]]
    assert ({"path": "/admin"}, "app-1", True) in routes
    assert ({"path": "/api"}, "api-1", False) in routes
    assert [pool for match, pool, _ in routes if match == {"path": "/admin"}] == ["app-1"]
    assert all("response_headers" in route for route in document["routes"] if "auth" in route)


def test_a_check_whose_matcher_has_no_equal_is_for_all_requests(tmp_path: Path) -> None:
    text = ":80 {\n @odd expression true\n forward_auth @odd auth:1 {\n  uri /x\n }\n reverse_proxy app:1\n}\n"
    document, _ = imported(text, tmp_path)
    assert document["auth"] == {"forward": {"url": "http://auth:1/x"}}


def test_signs_of_failure_are_settings_of_the_pool(tmp_path: Path) -> None:
    text = ":80 {\n reverse_proxy app:1 {\n  unhealthy_status 429 503\n  unhealthy_request_count 50\n }\n}\n"
    document, findings = imported(text, tmp_path)
    assert findings == []
    (pool,) = document["pools"].values()
    assert pool["backends"] == [{"url": "http://app:1", "max_connections": 50}]
    assert pool["ejection"] == {"statuses": [429, 503]}


def test_a_redirect_comes_before_a_password(tmp_path: Path) -> None:
    document, _ = imported(":80 {\n forward_auth auth:1\n redir /old /new\n reverse_proxy app:1\n}\n", tmp_path)
    assert ["auth" in route for route in document["routes"] if "redirect" in route] == [False]


@pytest.mark.parametrize(
    ("text", "message"),
    [(":80 {\n", "a block has no end"), ("}\n", "Caddyfile:1: a brace closes no block"), ('"a', "a quote has no end")],
)
def test_a_file_that_caddy_would_refuse_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "Caddyfile").write_text(text)
    with pytest.raises(UnreadableConfiguration, match=message):
        read([str(tmp_path / "Caddyfile")])
