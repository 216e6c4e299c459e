from __future__ import annotations

import pytest

from lbflask.core.http.direct_response import DirectResponse, ErrorPage, Redirect, unknown_placeholders
from tests.support.changes import property_test


@pytest.mark.parametrize(
    ("to", "host", "target", "location"),
    [
        (
            "https://{host}{path}{query}",
            "Shop.example:8080",
            "/a%2Fb//c?d=%7B&e",
            "https://shop.example/a%2Fb//c?d=%7B&e",
        ),
        ("https://{host}{path}", "[::1]:80", "/", "https://[::1]/"),
        ("/new{path}{query}", "a", "/x?", "/new/x?"),
        ("https://other.example/", "a", "/x?y", "https://other.example/"),
        ("https://a{path}{query}", "a", "*", "https://a/"),
        ("https://a{path}", "a", "/{host}{query}", "https://a/{host}{query}"),
    ],
)
def test_a_redirection_takes_over_what_it_is_told_to(to: str, host: str, target: str, location: str) -> None:
    fields, body = Redirect(308, to).parts(host, target)
    assert body == f"Permanent Redirect: {location}\n".encode()
    assert fields == [
        ("Location", location), ("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))
    ]  # fmt: skip


def test_a_fixed_answer_is_the_same_to_all() -> None:
    fields, body = DirectResponse(503, ErrorPage("text/html", b"<p>soon")).parts("a", "/x")
    assert (fields, body) == ([("Content-Type", "text/html"), ("Content-Length", "7")], b"<p>soon")


def test_an_empty_answer_says_of_no_content_what_it_is() -> None:
    assert DirectResponse(204, ErrorPage("text/plain", b"")).parts("a", "/") == ([("Content-Length", "0")], b"")


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("{host}{path}{query}", []),
        ("{port}", ["port"]),
        ("{}", [""]),
        ("{path", ["{"]),
        ("path}", ["}"]),
        ("{{path}}", ["{", "}"]),
    ],
)
def test_placeholders_that_mean_nothing_are_found(text: str, unknown: list[str]) -> None:
    assert unknown_placeholders(text) == unknown


def test_a_summary_has_the_status_and_the_url_without_its_secrets() -> None:
    assert DirectResponse(503, ErrorPage("text/plain", b"soon")).summary("a", "/x") == "503"
    assert Redirect(301, "https://{host}{path}{query}").summary("a:80", "/x?token=t") == "301 to https://a/x?token=***"


test_any_template_is_filled_or_rejected = property_test("redirect")
