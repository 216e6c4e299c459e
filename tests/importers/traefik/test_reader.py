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
