"""Requests to an authentication service, and what its responses decide."""

from __future__ import annotations

import pytest

from lbflask.core.http.forward_auth import (
    ServiceVerdict,
    cache_seconds,
    is_of_service,
    refusal_fields,
    service_fields,
    service_verdict,
    user_of,
)
from lbflask.core.http.request_origin import RequestOrigin
from lbflask.core.http.types import Fields

ORIGIN = RequestOrigin("192.0.2.7", "https", "shop.example", "443")


def test_the_service_gets_the_credentials_and_the_url_but_no_claims() -> None:
    received = [
        ("Cookie", "a=1"),
        ("X-Forwarded-Uri", "/forged"),
        ("cookie", "b=2"),
        ("Authorization", "Basic eA=="),
        ("Content-Length", "3"),
        ("Upgrade", "websocket"),
        ("Remote-User", "root"),
    ]
    assert service_fields(received, "POST", "/a?b", ORIGIN, "mark") == [
        ("Cookie", "a=1; b=2"),
        ("Authorization", "Basic eA=="),
        ("X-Forwarded-Method", "POST"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "shop.example"),
        ("X-Forwarded-Uri", "/a?b"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("CDN-Loop", "mark"),
    ]


def test_a_request_without_credentials_is_asked_about_too() -> None:
    assert len(service_fields([("Host", "a"), ("Cookie", "a=1")], "GET", "/", ORIGIN, "mark")) == 7
    assert len(service_fields([], "GET", "/", ORIGIN, "mark")) == 6


def test_a_request_to_the_service_is_known_again() -> None:
    """RFC 8586."""
    assert is_of_service(service_fields([], "GET", "/", ORIGIN, "mark"), "mark")
    assert is_of_service([("cdn-loop", "other; v=1, mark")], "mark")
    assert not is_of_service([("CDN-Loop", "marks"), ("Via", "mark")], "mark")


@pytest.mark.parametrize(
    ("status", "fields", "verdict"),
    [
        (200, [], ServiceVerdict.ALLOWED),
        (204, [], ServiceVerdict.ALLOWED),
        (299, [], ServiceVerdict.ALLOWED),
        (401, [], ServiceVerdict.REFUSED),
        (403, [], ServiceVerdict.REFUSED),
        (302, [("Location", "/login")], ServiceVerdict.REFUSED),
        (302, [], ServiceVerdict.UNUSABLE),
        (304, [("Location", "/login")], ServiceVerdict.UNUSABLE),
        (404, [], ServiceVerdict.UNUSABLE),
        (429, [], ServiceVerdict.UNUSABLE),
        (500, [], ServiceVerdict.UNUSABLE),
        (101, [], ServiceVerdict.UNUSABLE),
    ],
)
def test_only_some_statuses_decide(status: int, fields: Fields, verdict: ServiceVerdict) -> None:
    assert service_verdict(status, fields) is verdict


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([], 60),
        ([("Cache-Control", "private, max-age=10")], 10),
        ([("cache-control", 'max-age="7"')], 7),
        ([("Cache-Control", "max-age=9999")], 60),
        ([("Cache-Control", "max-age=x")], 0),
        ([("Cache-Control", "max-age=10, no-store")], 0),
        ([("Cache-Control", "No-Cache")], 0),
        ([("Vary", "Cookie")], 60),
        ([("Vary", "*")], 0),
        ([("Set-Cookie", "a=1")], 0),
    ],
)
def test_a_response_limits_how_long_it_counts(fields: Fields, seconds: float) -> None:
    assert cache_seconds(fields, 60.0) == seconds


def test_a_refusal_has_no_fields_of_the_connection() -> None:
    fields = [("Content-Length", "3"), ("Connection", "close, X-Hop"), ("X-Hop", "1"), ("Location", "/login")]
    assert refusal_fields(fields) == [("Location", "/login")]


def test_the_user_is_named_by_the_first_of_the_usual_fields() -> None:
    assert user_of([("X-Auth-Request-User", "b"), ("remote-user", "a"), ("Remote-User", "c")]) == "a"
    assert user_of([("Remote-User", ""), ("X-Forwarded-User", "x")]) == "x"
    assert user_of([("Remote-Groups", "g")]) == ""
