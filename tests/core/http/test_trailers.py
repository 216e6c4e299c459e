from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.fields import HOP_BY_HOP
from lbflask.core.http.trailers import passable_trailers
from lbflask.core.http.types import Fields
from tests.support.changes import property_test

#: RFC 9110 §6.5.1, by what each would be if a recipient merged it into the head.
DANGEROUS = [
    *HOP_BY_HOP,
    *("Content-Length", "Host", "HTTP2-Settings", "Alt-Svc"),
    *("Content-Encoding", "Content-Type", "Content-Range", "Content-Location", "Content-Language"),
    *("Authorization", "Proxy-Authorization", "WWW-Authenticate", "Cookie", "Set-Cookie"),
    *("Cache-Control", "Expect", "Max-Forwards", "Pragma", "Prefer", "Range", "TE"),
    *("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"),
    *("Age", "Date", "Expires", "Location", "Retry-After", "Vary", "Warning"),
    *("Forwarded", "X-Real-IP", "X-Request-ID", "Via"),
    *("X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override"),
    *("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Anything", "X_Forwarded_For", "Content_Length"),
]
HARMLESS = ["ETag", "Server-Timing", "Digest", "Content-Digest", "Content-MD5", "grpc-status", "X-Trailer", "x-sum"]


@pytest.mark.parametrize("name", sorted(DANGEROUS))
def test_what_would_change_the_meaning_of_a_message_does_not_pass_in_any_case(name: str) -> None:
    for spelled in (name, name.lower(), name.upper(), name.title()):
        assert passable_trailers([("A", "1"), (spelled, "x"), ("B", "2")]) == [("A", "1"), ("B", "2")]


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_what_is_said_of_the_content_passes_as_it_is(name: str) -> None:
    fields = [(name, "\xe9 "), (name.upper(), ""), (name, "\xe9 ")]
    assert passable_trailers(fields) == fields


@given(st.lists(st.tuples(st.sampled_from([*DANGEROUS, *HARMLESS]), st.text(max_size=3))))
def test_the_harmless_keep_their_order_and_number(fields: Fields) -> None:
    assert passable_trailers(fields) == [field for field in fields if field[0] in HARMLESS]


test_any_head_is_forwarded_without_fields_of_this_hop = property_test("fields")
