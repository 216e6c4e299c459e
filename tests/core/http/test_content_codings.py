from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.content_codings import MOST_MEMBERS, SUFFIXES, accepted_codings
from tests.support.changes import property_test


@pytest.mark.parametrize(
    ("text", "codings"),
    [
        (None, ()),
        ("", ()),
        ("identity", ()),
        ("gzip", ("gzip",)),
        ("GZIP", ("gzip",)),
        ("x-gzip", ("gzip",)),
        ("gzip, deflate, br, zstd", ("zstd", "br", "gzip")),
        ("gzip;q=1.0, br;q=0.5", ("gzip", "br")),
        ("gzip;q=0.5, br;q=0.500", ("br", "gzip")),
        ("gzip; Q=0.5 , br", ("br", "gzip")),
        ("br;q=0", ()),
        ("*", ("zstd", "br", "gzip")),
        ("*;q=0.1, gzip", ("gzip", "zstd", "br")),
        ("*, br;q=0", ("zstd", "gzip")),
        ("*;q=0", ()),
        ("identity, gzip;q=0.5", ()),
        ("identity;q=0.5, gzip;q=0.5", ("gzip",)),
        ("identity;q=0, gzip;q=0.1", ("gzip",)),
        ("gzip;q=2", ()),
        ("gzip;q=0.1234", ()),
        ("gzip;level=1", ()),
        ("gzip;;q=1, br", ("br",)),
        ("gzip;q=0, gzip", ()),
        (",,,", ()),
    ],
)
def test_codings_are_tried_by_weight_and_then_by_our_preference(text: str | None, codings: tuple[str, ...]) -> None:
    assert accepted_codings(text) == codings


def test_only_so_many_members_are_read() -> None:
    assert accepted_codings("x, " * (MOST_MEMBERS - 1) + "gzip") == ("gzip",)
    assert accepted_codings("x, " * MOST_MEMBERS + "gzip") == ()


@given(st.text("gzipbrstd*;q=01., ", max_size=60))
def test_whatever_comes_the_codings_are_known_ones(text: str) -> None:
    codings = accepted_codings(text)
    assert set(codings) <= SUFFIXES.keys()
    assert len(set(codings)) == len(codings)


test_any_fields_have_an_answer = property_test("file_request")
