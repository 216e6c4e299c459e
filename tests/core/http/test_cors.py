from __future__ import annotations

from itertools import product

import pytest

from lbflask.core.http.cors import ANSWER_FIELDS, MAX_NAMES, CorsPolicy, is_preflight, value_of
from lbflask.core.http.types import Fields

SHOP = "https://shop.example"
POLICY = CorsPolicy((SHOP, "https://*.shop.example"), ("GET", "PUT"), ("X-Token",), True, 600, ("X-Total", "ETag"))
PUBLIC = CorsPolicy(("*",))
VARY = ("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (SHOP, True),
        ("https://a.shop.example", True),
        ("https://a.b.shop.example", True),
        ("https://.shop.example", False),
        ("http://shop.example", False),
        ("https://shop.example:8443", False),
        ("https://shop.example.evil.example", False),
        ("https://evilshop.example", False),
        ("https://evil.example/.shop.example", False),
        ("https://a@b.shop.example", False),
        ("HTTPS://SHOP.EXAMPLE", False),
        ("null", False),
        ("", False),
    ],
)
def test_an_origin_is_allowed_by_scheme_host_and_port(origin: str, allowed: bool) -> None:
    assert POLICY.allows(origin) is allowed


def test_all_origins_are_allowed_by_a_star() -> None:
    assert PUBLIC.allows("https://any.example")
    assert PUBLIC.allows("null")


def test_a_response_to_an_allowed_origin_names_it() -> None:
    assert POLICY.edited([("Content-Type", "a/b")], SHOP) == [
        ("Content-Type", "a/b"),
        ("Vary", "Origin"),
        ("Access-Control-Allow-Origin", SHOP),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Expose-Headers", "X-Total, ETag"),
    ]


@pytest.mark.parametrize("origin", ["https://evil.example", ""])
def test_a_response_to_others_has_nothing_of_the_protocol_but_varies(origin: str) -> None:
    assert POLICY.edited([("A", "1")], origin) == [("A", "1"), ("Vary", "Origin")]


def test_a_public_response_is_the_same_for_all() -> None:
    expected = [("A", "1"), ("Access-Control-Allow-Origin", "*")]
    assert PUBLIC.edited([("A", "1")], "https://any.example") == expected
    assert PUBLIC.edited([("A", "1")], "") == expected


@pytest.mark.parametrize("origin", [SHOP, "https://evil.example"])
def test_what_the_backend_says_of_origins_does_not_pass(origin: str) -> None:
    given: Fields = [(name.title(), "*") for name in sorted(ANSWER_FIELDS)]
    fields = POLICY.edited([*given, ("Vary", "Accept")], origin)
    assert [value for name, value in fields if name == "Access-Control-Allow-Origin"] == [SHOP] * (origin == SHOP)
    assert "*" not in [value for _, value in fields]
    assert ("Vary", "Accept") in fields


def test_a_preflight_of_an_allowed_origin_is_answered() -> None:
    assert POLICY.preflight(SHOP, "PUT", "x-token, x-other") == [
        VARY,
        ("Access-Control-Allow-Origin", SHOP),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Allow-Methods", "GET, PUT"),
        ("Access-Control-Allow-Headers", "X-Token"),
        ("Access-Control-Max-Age", "600"),
    ]


def test_a_preflight_for_another_method_is_not_told_of_any() -> None:
    assert "Access-Control-Allow-Methods" not in dict(POLICY.preflight(SHOP, "DELETE", ""))


def test_a_preflight_of_another_origin_gets_nothing() -> None:
    assert POLICY.preflight("https://evil.example", "GET", "x-token") == [VARY]


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ("authorization, x-a", "authorization, x-a"),
        (" x-a ,\tb ", "x-a, b"),
        ("a b, c\r\nx: y, d", "d"),
        ("", None),
        (", ".join(["x"] * MAX_NAMES), ", ".join(["x"] * MAX_NAMES)),
        (", ".join(["x"] * (MAX_NAMES + 1)), None),
    ],
)
def test_any_fields_means_those_that_are_asked_for(headers: str, allowed: str | None) -> None:
    fields = dict(CorsPolicy(("*",), headers=("*",)).preflight(SHOP, "GET", headers))
    assert fields.get("Access-Control-Allow-Headers") == allowed
    assert "Access-Control-Max-Age" not in fields


def test_a_preflight_is_an_options_request_with_both_fields() -> None:
    for method, origin, asked in product(("OPTIONS", "GET"), (False, True), (False, True)):
        fields = [("ORIGIN", SHOP)] * origin + [("access-control-request-method", "PUT")] * asked
        assert is_preflight(method, fields) is (method == "OPTIONS" and origin and asked)


def test_the_first_field_of_a_name_counts() -> None:
    assert value_of([("A", "0"), ("Origin", "1"), ("origin", "2")], "origin") == "1"
    assert value_of([("A", "0")], "origin") == ""
