from __future__ import annotations

import re

import pytest

from lbflask.core.http.direct_response import DirectResponse, ErrorPage, Redirect, escape_of
from lbflask.core.http.value_templates import RequestFacts, ValueTemplate, parsed_value
from tests.support.changes import property_test


def facts(host: str, target: str, *fields: tuple[str, str]) -> RequestFacts:
    return RequestFacts("2001:db8::1", "https", host, "GET", target, "id-1", list(fields))


def varying(text: str, content_type: str) -> DirectResponse:
    template = parsed_value(text, {})
    assert isinstance(template, ValueTemplate)
    return DirectResponse(200, ErrorPage(content_type, b""), template)


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
    fields, body = Redirect(308, to).parts(facts(host, target))
    assert body == f"Permanent Redirect: {location}\n".encode()
    assert fields == [
        ("Location", location), ("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))
    ]  # fmt: skip


def test_a_fixed_answer_is_the_same_to_all() -> None:
    fields, body = DirectResponse(503, ErrorPage("text/html", b"<p>soon")).parts(facts("a", "/x"))
    assert (fields, body) == ([("Content-Type", "text/html"), ("Content-Length", "7")], b"<p>soon")


def test_an_empty_answer_says_of_no_content_what_it_is() -> None:
    assert DirectResponse(204, ErrorPage("text/plain", b"")).parts(facts("a", "/")) == ([("Content-Length", "0")], b"")


@pytest.mark.parametrize(
    ("to", "location"),
    [
        ("https://{header.X-Tenant}.example/", "https://evil.test%2Fa%3Fb%23c%40d%20.example/"),
        ("/login?to={scheme}://{authority}{path}", "/login?to=https://Shop.example:81/a%20b"),
        ("/for/{client}/{method}/{request_id}", "/for/2001%3Adb8%3A%3A1/GET/id-1"),
        ("/{env.ZONE}/{{x}}", "/eu-1/{x}"),
    ],
)
def test_what_a_client_sends_never_changes_the_form_of_a_url(to: str, location: str) -> None:
    request = facts("Shop.example:81", "/a%20b?c", ("X-Tenant", "evil.test/a?b#c@d \r\n"))
    assert Redirect(308, to, {"ZONE": "eu-1"}).location(request) == location


def test_a_host_that_a_proxy_states_has_no_path() -> None:
    request = facts("evil.test/a?b", "/c")
    assert Redirect(308, "https://{host}{path}").location(request) == "https://evil.test%2Fa%3Fb/c"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain; charset=utf-8", "a <b>\"'&\u00e9"),
        ("Text/HTML", "a &lt;b&gt;&quot;&#x27;&amp;\u00e9"),
        ("application/xhtml+xml", "a &lt;b&gt;&quot;&#x27;&amp;\u00e9"),
        ("application/json", "a <b>\\\"'&\\u00e9"),
        ("application/problem+json", "a <b>\\\"'&\\u00e9"),
    ],
)
def test_what_a_client_sends_is_escaped_by_the_type_of_the_body(content_type: str, body: str) -> None:
    request = facts("h", "/", ("X-A", "<b>\"'&\u00e9\r\n\0"))
    response = varying("a {header.X-A}", content_type)
    assert response.varies
    fields, sent = response.parts(request)
    assert sent.decode() == body
    assert fields == [("Content-Type", content_type), ("Content-Length", str(len(sent)))]


def test_no_variable_is_safe_in_a_body_of_another_type() -> None:
    assert escape_of("text/javascript") is None
    assert escape_of("text/css; charset=utf-8") is None
    with pytest.raises(ValueError, match="'text/css' has no variables"):
        varying("{client}", "text/css").parts(facts("a", "/"))


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("{port}", "there is no {port}"),
        ("{}", "{} has no name"),
        ("{path", "'{' is not paired"),
        ("{backend}", "{backend} is not known yet"),
        ("$host", "'$host' is no variable here"),
    ],
)
def test_a_text_that_is_no_template_is_refused(to: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        Redirect(308, to)


def test_redirections_to_the_same_url_are_equal_and_show_no_secrets() -> None:
    one, other = (Redirect(308, "https://u:p@a/{path}") for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Redirect(301, "https://u:p@a/{path}")
    assert one != "https://u:p@a/{path}"
    assert repr(one) == "Redirect(308, 'https://u:***@a/{path}')"


def test_a_summary_has_the_status_and_the_url_without_its_secrets() -> None:
    assert DirectResponse(503, ErrorPage("text/plain", b"soon")).summary(facts("a", "/x")) == "503"
    assert (
        Redirect(301, "https://{host}{path}{query}").summary(facts("a:80", "/x?token=t"))
        == "301 to https://a/x?token=***"
    )


test_any_template_is_filled_or_rejected = property_test("redirect")
