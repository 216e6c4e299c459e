from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.bounded_expression import BoundedExpression
from lbflask.core.checks import BODY_LIMIT, HealthCheck, StatusSet
from lbflask.core.failure_causes import FailureCause
from lbflask.core.health import Observation
from lbflask.core.http.uwsgi_packet import uwsgi_packet
from lbflask.core.model import ActiveHealth, Backend, Health
from tests.support.changes import property_test
from tests.support.documentation import defaults

WEB = Backend("web", "10.0.0.1", 8000, "http://10.0.0.1:8000")


@pytest.mark.parametrize(
    ("text", "inside", "outside", "shown"),
    [
        ("200-399", (200, 204, 399), (199, 400), "200-399"),
        ("200,204", (200, 204), (201, 202, 203, 205), "200,204"),
        (" 200 , 300-302 ", (200, 300, 302), (299, 303), "200,300-302"),
        ("404-404", (404,), (403, 405), "404"),
        ("100-599", (100, 599), (99, 600, 999), "100-599"),
    ],
)
def test_statuses_are_numbers_and_ranges_with_both_ends(
    text: str, inside: tuple[int, ...], outside: tuple[int, ...], shown: str
) -> None:
    statuses = StatusSet.parse(text)
    assert [status for status in (*inside, *outside) if status in statuses] == list(inside)
    assert str(statuses) == shown
    assert str(StatusSet.parse(shown)) == shown


@pytest.mark.parametrize(
    "text", ["", ",", "200,", "2xx", "20", "99", "600", "300-200", "200-", "-200", "200 300", "٢٠٠"]
)
def test_anything_else_is_no_set_of_statuses(text: str) -> None:
    with pytest.raises(ValueError, match="as in 200-399 or 200,204"):
        StatusSet.parse(text)


@given(st.floats(-1, 1), st.floats(0, 50), st.booleans())
def test_a_pause_is_within_the_jitter_of_the_interval_that_the_state_asks_for(
    chance: float, jitter: float, moving: bool
) -> None:
    pause = HealthCheck(interval=10, soon=2, jitter=jitter).pause(ActiveHealth(Health.UP, int(moving)), chance)
    base = 2 if moving else 10
    assert base * (1 - jitter / 100) - 1e-9 <= pause <= base * (1 + jitter / 100) + 1e-9


def test_chance_moves_a_pause_both_ways() -> None:
    check, state = HealthCheck(interval=10, jitter=20), ActiveHealth(Health.UP)
    assert [check.pause(state, chance) for chance in (-1, 0, 1)] == [8, 10, 12]


@pytest.mark.parametrize(
    ("check", "backend", "scheme", "port", "authority"),
    [
        (HealthCheck("http"), WEB, "http", 8000, "10.0.0.1:8000"),
        (HealthCheck("http", port=9000), WEB, "http", 9000, "10.0.0.1:9000"),
        (HealthCheck("http", port=80), WEB, "http", 80, "10.0.0.1"),
        (HealthCheck("https"), WEB, "https", 8000, "10.0.0.1:8000"),
        (HealthCheck("https", port=443), WEB, "https", 443, "10.0.0.1"),
        (HealthCheck("http", port=443), replace(WEB, scheme="https"), "https", 443, "10.0.0.1"),
        (HealthCheck("http", port=1), replace(WEB, host="::1"), "http", 1, "[::1]:1"),
    ],
)
def test_the_check_says_where_a_backend_is_reached(
    check: HealthCheck, backend: Backend, scheme: str, port: int, authority: str
) -> None:
    target = check.target(backend)
    assert (target.scheme, target.port, target.host) == (scheme, port, backend.host)
    assert f"\r\nHost: {authority}\r\n".encode() in check.request(target)


@pytest.mark.parametrize(
    ("method", "length"), [("GET", 0), ("HEAD", 0), ("OPTIONS", 0), ("PATCH", 1), ("POST", 1), ("PUT", 1)]
)
def test_only_methods_that_have_bodies_say_that_there_is_none(method: str, length: int) -> None:
    """RFC 9110 §8.6."""
    assert HealthCheck("http", method=method).request(WEB).count(b"\r\nContent-Length: 0\r\n") == length


def test_a_request_has_a_few_fields_and_closes_its_connection() -> None:
    assert HealthCheck("http", path="/ready?full").request(WEB).split(b"\r\n") == [
        b"GET /ready?full HTTP/1.1",
        b"Host: 10.0.0.1:8000",
        b"User-Agent: lbflask-check",
        b"Accept: */*",
        b"Connection: close",
        b"",
        b"",
    ]


def test_configured_fields_replace_those_of_the_same_name() -> None:
    names = ("HOST", "user-agent", "Accept", "content-length", "X-Probe")
    check = HealthCheck("http", method="PUT", headers=tuple((name, "mine") for name in names))
    head = check.request(WEB).decode().removesuffix("\r\n\r\n").split("\r\n")
    assert head == ["PUT / HTTP/1.1", *(f"{name}: mine" for name in names), "Connection: close"]


@pytest.mark.parametrize(("method", "length"), [("GET", None), ("POST", 0)])
def test_a_server_of_the_uwsgi_protocol_gets_a_packet(method: str, length: int | None) -> None:
    check = HealthCheck("http", method=method, path="/ready?x", headers=(("HOST", "app.example"), ("X-Probe", "1")))
    fields = [("User-Agent", "lbflask-check"), ("Accept", "*/*"), ("X-Probe", "1")]
    expected = uwsgi_packet(method, "/ready?x", "app.example", fields, length)
    assert check.request(replace(WEB, scheme="uwsgi")) == expected


def test_defaults_are_those_of_the_settings() -> None:
    check, documented = HealthCheck(), defaults("`[health]`")
    for name in ("interval", "jitter", "timeout", "path", "method", "host"):
        assert getattr(check, name) == documented[name]
    assert str(check.expect_status) == documented["expect_status"]
    assert (check.kind, check.soon) == ("tcp", check.interval / 5)  # docs/health-checks.md
    assert (check.headers, check.expect_body, check.port) == ((), None, 0)


def test_each_verdict_on_a_body_has_its_reason() -> None:
    check = HealthCheck("http", expect_body=BoundedExpression("ok"))
    assert check.verdict_of_body(200, b"ok") == Observation(True, "status 200, body as expected")
    assert check.verdict_of_body(200, b"no") == Observation(
        False, "status 200, but its body has no match for 'ok'", FailureCause.BODY
    )
    assert HealthCheck("http").verdict_of_body(204, b"") == Observation(True, "status 204")


def test_the_reason_of_an_outcome_is_always_the_same() -> None:
    check = HealthCheck("http", expect_body=BoundedExpression("ok"))
    assert check.verdict_of_body(200, b"a ok 1") == check.verdict_of_body(200, b"b ok 2")
    assert check.verdict_of_body(200, b"a") == check.verdict_of_body(200, b"b")


@pytest.mark.parametrize("pattern", [None, "", "(?i)READY", "é", r"\d{3}$", "ready\n"])
def test_a_body_is_searched_as_text(pattern: str | None) -> None:
    check = HealthCheck("http", expect_body=None if pattern is None else BoundedExpression(pattern))
    assert check.verdict_of_body(200, "é is ready\n123".encode()).ok


def test_bytes_that_are_no_text_match_nothing() -> None:
    check = HealthCheck("http", expect_body=BoundedExpression("é"))
    assert not check.verdict_of_body(200, "é".encode("latin-1")).ok


def test_no_more_is_searched_than_the_limit() -> None:
    """docs/health-checks.md."""
    check = HealthCheck("http", expect_body=BoundedExpression("ready"))
    assert BODY_LIMIT == 256 * 1024
    assert check.verdict_of_body(200, b" " * (BODY_LIMIT - 5) + b"ready more").ok
    for body in (b" " * BODY_LIMIT, b" " * (BODY_LIMIT - 4) + b"ready more"):
        seen = check.verdict_of_body(200, body)
        assert seen == Observation(
            False, "status 200, but the first 256 KiB of its body has no match for 'ready'", FailureCause.BODY
        )


def test_a_search_that_takes_too_long_is_a_failure_with_a_reason_of_its_own() -> None:
    check = HealthCheck("http", expect_body=BoundedExpression("(a|aa)+$", seconds=0.01))
    seen = check.verdict_of_body(200, b"a" * 200 + b"b")
    assert seen == Observation(
        False, "status 200, but the search of its body for '(a|aa)+$' takes too long", FailureCause.BODY
    )


def test_an_expected_status_is_healthy_and_any_other_names_what_was_expected() -> None:
    check = HealthCheck("http", expect_status=StatusSet.parse("200,204"))
    assert check.verdict_of_status(204) == Observation(True, "status 204")
    assert check.verdict_of_status(301) == Observation(False, "status 301, expected 200,204", FailureCause.STATUS)


test_any_statuses_are_read_as_they_are_written_or_rejected = property_test("statuses")
