from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.compression import (
    MOST_CACHED,
    CompressionPolicy,
    CompressionRules,
    with_strong_tags,
    with_vary,
    without_digests,
)
from lbflask.core.http.types import Fields
from tests.support.changes import property_test

RULES = CompressionRules(CompressionPolicy({"zstd": 3, "gzip": 4}))
HTML = ("Content-Type", "text/html; charset=utf-8")
ACCEPTS: Fields = [("accept-encoding", "gzip"), ("Accept-Encoding", "br, zstd;q=0.5")]


def coding_of(fields: Fields, status: int = 200, asked: Fields = ACCEPTS, rules: CompressionRules = RULES) -> str:
    return rules.edited(status, asked, fields)[1]


def test_the_client_chooses_by_weights_and_the_policy_among_equals() -> None:
    assert coding_of([HTML]) == "gzip"
    assert coding_of([HTML], asked=[("Accept-Encoding", "gzip, zstd")]) == "zstd"
    other = CompressionRules(CompressionPolicy({"gzip": 4, "zstd": 3}))
    assert coding_of([HTML], asked=[("Accept-Encoding", "gzip, zstd")], rules=other) == "gzip"
    assert coding_of([HTML], asked=[]) == ""
    assert coding_of([HTML], asked=[*ACCEPTS, ("cache-control", "max-age=0, No-Transform")]) == ""
    assert coding_of([HTML], asked=[*ACCEPTS, ("Cache-Control", "no-cache")]) == "gzip"
    assert coding_of([HTML], asked=[("Accept-Encoding", "gzip;q=0, *;q=0")]) == ""


def test_what_was_stated_of_the_bytes_is_gone_and_all_else_stays_in_order() -> None:
    fields = [
        ("Server", "x"),
        HTML,
        ("content-length", "5000"),
        ("ETag", '"a"'),
        ("Accept-Ranges", "bytes"),
        ("Repr-Digest", "sha-256=:x:"),
        ("Set-Cookie", "a=1"),
    ]
    assert RULES.edited(200, ACCEPTS, fields) == (
        [
            ("Server", "x"),
            HTML,
            ("ETag", 'W/"a"'),
            ("Set-Cookie", "a=1"),
            ("Content-Encoding", "gzip"),
            ("Vary", "Accept-Encoding"),
        ],
        "gzip",
    )
    assert ("ETag", 'W/"a"') in RULES.edited(200, ACCEPTS, [HTML, ("ETag", 'W/"a"')])[0]


def test_a_client_that_accepts_no_coding_gets_the_bytes_and_caches_learn_why() -> None:
    fields = [HTML, ("Content-Length", "5000"), ("ETag", '"a"')]
    assert RULES.edited(200, [], fields) == ([*fields, ("Vary", "Accept-Encoding")], "")


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("Content-Type", "image/png")],
        [("Content-Type", "application/grpc")],
        [("Content-Type", "json")],
        [HTML, ("Content-Length", "1023")],
        [HTML, ("Content-Length", "x")],
        [HTML, ("Content-Encoding", "gzip")],
        [HTML, ("Content-Range", "bytes 0-1/2")],
        [HTML, ("Cache-Control", "public"), ("Cache-Control", "max-age=1, No-Transform")],
    ],
)
def test_what_is_not_compressed_passes_as_it_is(fields: Fields) -> None:
    assert RULES.edited(200, ACCEPTS, fields) == (fields, "")


@pytest.mark.parametrize("status", [101, 204, 205, 206, 304])
def test_a_status_without_a_body_or_with_a_part_of_one_is_never_compressed(status: int) -> None:
    assert RULES.edited(status, ACCEPTS, [HTML]) == ([HTML], "")


def test_other_statuses_are_compressed_too() -> None:
    assert [coding_of([HTML], status) for status in (201, 404, 503)] == ["gzip"] * 3


@pytest.mark.parametrize(
    ("kind", "compressed"),
    [
        ("TEXT/css", True),
        ("application/json ;charset=utf-8", True),
        ("application/problem+json", True),
        ("application/json5", False),
        ("image/svg+xml", True),
        ("text/event-stream", True),
        ("application/octet-stream", False),
        (f"text/{'x' * MOST_CACHED}", True),
    ],
)
def test_the_usual_types_are_texts(kind: str, compressed: bool) -> None:
    assert bool(coding_of([("Content-Type", kind)])) is compressed


def test_other_types_and_lengths_can_be_chosen() -> None:
    rules = CompressionRules(CompressionPolicy({"gzip": 1}, ("font/ttf", "x/*"), least=10))
    assert coding_of([("Content-Type", "font/ttf"), ("Content-Length", "10")], rules=rules) == "gzip"
    assert coding_of([("Content-Type", "font/ttf"), ("Content-Length", "9")], rules=rules) == ""
    assert coding_of([("Content-Type", "x/y")], rules=rules) == "gzip"
    assert coding_of([HTML], rules=rules) == ""
    nothing = CompressionRules(CompressionPolicy({"gzip": 1}, least=0))
    assert coding_of([HTML, ("Content-Length", "0")], rules=nothing) == ""


def test_streams_of_events_are_known() -> None:
    assert RULES.is_event_stream([("X", "y"), ("Content-Type", "Text/Event-Stream; charset=utf-8")])
    assert not RULES.is_event_stream([HTML])


def test_a_304_has_the_tag_by_which_the_client_stored_the_response() -> None:
    fields = [("Date", "x"), ("ETag", '"a"'), ("Server", "y")]
    weakened = [("Date", "x"), ("ETag", 'W/"a"'), ("Server", "y"), ("Vary", "Accept-Encoding")]
    assert RULES.edited(304, [("If-None-Match", '"b", W/"a"')], fields) == (weakened, "")
    assert RULES.edited(304, [("If-None-Match", '"a"')], fields) == (fields, "")
    assert RULES.edited(304, [("If-None-Match", 'W/"a"')], [("ETag", 'W/"a"')]) == ([("ETag", 'W/"a"')], "")


def test_a_backend_gets_its_own_tags_in_if_match() -> None:
    fields = [("If-Match", 'W/"a", "b"'), ("If-None-Match", 'W/"a"')]
    assert with_strong_tags(fields) == [("If-Match", '"a", "b"'), ("If-None-Match", 'W/"a"')]
    for value in ('"aW/", "b"', '"aW/"', "*", 'W/"'):
        assert with_strong_tags([("if-match", value)]) == [("if-match", value)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], ["Accept-Encoding"]),
        (["Origin"], ["Origin, Accept-Encoding"]),
        (["Origin", "Cookie"], ["Origin", "Cookie, Accept-Encoding"]),
        (["accept-encoding, Origin"], ["accept-encoding, Origin"]),
        (["*"], ["*"]),
        ([""], ["Accept-Encoding"]),
    ],
)
def test_vary_is_merged(before: list[str], after: list[str]) -> None:
    fields = [("A", "b"), *(("vary", value) for value in before), ("C", "d")]
    assert [value for name, value in with_vary(fields) if name.lower() == "vary"] == after
    assert [field for field in with_vary(fields) if field[0].lower() != "vary"] == [("A", "b"), ("C", "d")]


def test_a_digest_in_trailers_would_be_that_of_other_bytes() -> None:
    assert without_digests([("Content-Digest", "x"), ("Server-Timing", "y")]) == [("Server-Timing", "y")]


@given(st.lists(st.sampled_from(["Vary", "Content-Length", "Content-Type", "ETag", "X"]).map(lambda name: (name, "1"))))
def test_a_policy_reads_as_one(fields: Fields) -> None:
    assert "gzip" in repr(RULES)
    assert coding_of(fields) == ""


test_any_fields_are_edited_soundly = property_test("compression")
