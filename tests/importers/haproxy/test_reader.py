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
    assert document["pools"]["a"]["request_headers"] == {"set": {"X-A": "a b"}}
    assert document["pools"]["a"]["response_headers"] == {"set": {"X-B": "c d#e"}}


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
