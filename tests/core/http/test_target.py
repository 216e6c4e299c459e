from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.target import BadTarget, Target, check_host, host_of, origin_form, request_target
from tests.support.changes import property_test


@pytest.mark.parametrize(
    "raw",
    [
        "/",
        "/a/b?c=d&e",
        "//double//slashes/../kept",
        "/%2F%2e%2e/%zz",
        "/?",
        "/a?b?c",
        "/http://elsewhere/",
        "/a b",  # what a parser let pass is the backend's to judge
        "/\xe9",
    ],
)
def test_the_origin_form_passes_byte_for_byte(raw: str) -> None:
    assert request_target("GET", raw) == Target(raw)


@given(st.text(st.characters(max_codepoint=0xFF, exclude_characters="#")))
def test_whatever_follows_the_first_slash_is_not_ours_to_change(rest: str) -> None:
    assert request_target("GET", "/" + rest) == Target("/" + rest)


@pytest.mark.parametrize(
    ("method", "raw", "target"),
    [
        ("GET", "http://example.com/a?b", Target("/a?b", "example.com")),
        ("GET", "HTTPS://example.com:8443/a", Target("/a", "example.com:8443")),
        ("GET", "http://example.com", Target("/", "example.com")),
        ("GET", "http://example.com?q", Target("/?q", "example.com")),
        ("GET", "http://[::1]:80//x", Target("//x", "[::1]:80")),
        ("OPTIONS", "http://example.com", Target("*", "example.com")),  # RFC 9112 §3.2.4
        ("OPTIONS", "http://example.com/", Target("/", "example.com")),
        ("OPTIONS", "http://example.com?q", Target("/?q", "example.com")),
    ],
)
def test_the_absolute_form_is_cut_to_the_origin_form_and_names_the_host(method: str, raw: str, target: Target) -> None:
    assert request_target(method, raw) == target


@pytest.mark.parametrize(
    ("raw", "form"),
    [
        ("http://example.com/a?b", "/a?b"),
        ("http://example.com", "/"),
        ("/http://example.com/a", "/http://example.com/a"),
        ("/a#b", "/a#b"),
        ("*", "*"),
        ("http://ann@example.com/a", "http://ann@example.com/a"),
        ("example.com:443", "example.com:443"),
        ("", ""),
    ],
)
def test_only_an_absolute_form_that_is_forwarded_gets_an_origin_form(raw: str, form: str) -> None:
    assert origin_form(raw) == form


def test_the_asterisk_is_for_options() -> None:
    assert request_target("OPTIONS", "*") == Target("*")


@pytest.mark.parametrize(
    ("method", "raw", "status"),
    [
        ("CONNECT", "example.com:443", 501),
        ("CONNECT", "/", 501),
        ("GET", "*", 400),
        ("GET", "", 400),
        ("GET", "a/b", 400),
        ("GET", "example.com:80", 400),
        ("GET", "/a#b", 400),
        ("GET", "http://example.com/#b", 400),
        ("GET", "http:///path", 400),
        ("GET", "http://", 400),
        ("GET", "http://user:password@example.com/", 400),  # RFC 9110 §4.2.4
        ("GET", "http://a b/", 400),
        ("GET", "1http://example.com/", 400),
        ("GET", "?q", 400),
        ("OPTIONS", "**", 400),
    ],
)
def test_what_fits_no_form_is_refused(method: str, raw: str, status: int) -> None:
    with pytest.raises(BadTarget) as refused:
        request_target(method, raw)
    assert refused.value.status == status
    assert refused.value.reason == str(refused.value) != ""


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example.com",
        "example.com:",
        "example.com:8080",
        "127.0.0.1:1",
        "[::1]",
        "[::ffff:1.2.3.4]:80",
        "a_b",
        "a%41",
    ],
)
def test_a_host_with_an_optional_port_is_taken(host: str) -> None:
    check_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "a b",
        "a/b",
        "a?b",
        "a#b",
        "a@b",
        "a\\b",
        "a:b",
        "a:80:80",
        "a:123456",
        "::1",
        "[::1",
        "[a]b",
        "[g::1]",
        "a,b c",
        "a\n",
        "\xe9",
        " a",
        "a:-1",
    ],
)
def test_anything_else_is_no_host(host: str) -> None:
    with pytest.raises(BadTarget) as refused:
        check_host(host)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("Shop.Example", "shop.example"),
        ("shop.example.:8080", "shop.example"),
        ("", ""),
        ("[2001:DB8:0::1]:443", "[2001:db8::1]"),
        ("[v1.x]:80", "[v1.x]"),
    ],
)
def test_spellings_of_a_host_are_one_for_comparisons(authority: str, host: str) -> None:
    assert host_of(authority) == host


test_any_target_is_split_as_by_another_library_or_rejected = property_test("target")
test_any_host_is_one_in_each_spelling_or_rejected = property_test("host")
