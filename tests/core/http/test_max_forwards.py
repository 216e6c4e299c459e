from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.max_forwards import MOST, BadMaxForwards, final_answer, with_one_hop_less
from lbflask.core.http.types import Fields
from tests.support.changes import property_test

COUNTED = pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])


@COUNTED
@pytest.mark.parametrize(
    ("received", "left"), [("1", "0"), ("2", "1"), ("10", "9"), ("007", "6"), (" 5\t", "4"), (str(MOST), str(MOST - 1))]
)
def test_a_count_goes_on_one_lower_and_all_else_as_it_was(method: str, received: str, left: str) -> None:
    fields = [("A", "1"), ("max-Forwards", received), ("B", "2")]
    assert with_one_hop_less(method, fields) == [("A", "1"), ("max-Forwards", left), ("B", "2")]


@COUNTED
@pytest.mark.parametrize("count", [str(MOST + 1), "9" * 30, "9" * 5000])
def test_a_count_beyond_measure_is_cut(method: str, count: str) -> None:
    assert with_one_hop_less(method, [("Max-Forwards", count)]) == [("Max-Forwards", str(MOST))]


@COUNTED
@pytest.mark.parametrize("zero", ["0", "00", "0" * 5000])
def test_at_zero_the_request_ends_here(method: str, zero: str) -> None:
    assert with_one_hop_less(method, [("Max-Forwards", zero)]) is None


@COUNTED
@pytest.mark.parametrize("value", ["", "-1", "+1", "1.0", "1, 2", "0x1", "\xb2", "one", "1 0"])
def test_what_is_no_number_is_refused(method: str, value: str) -> None:
    with pytest.raises(BadMaxForwards, match="Max-Forwards"):
        with_one_hop_less(method, [("Max-Forwards", value)])


@COUNTED
def test_two_counts_are_refused(method: str) -> None:
    with pytest.raises(BadMaxForwards):
        with_one_hop_less(method, [("Max-Forwards", "0"), ("max-forwards", "0")])


@COUNTED
def test_without_a_count_nothing_changes(method: str) -> None:
    fields = [("A", "1")]
    assert with_one_hop_less(method, fields) is fields


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "options", "X"])
@pytest.mark.parametrize("value", ["0", "5", "nonsense"])
def test_for_other_methods_it_is_a_field_like_any_other(method: str, value: str) -> None:
    fields = [("Max-Forwards", value), ("Max-Forwards", value)]
    assert with_one_hop_less(method, fields) is fields


@given(st.integers(0, MOST))
def test_so_many_hops_and_no_more(count: int) -> None:
    fields: Fields | None = [("Max-Forwards", str(min(count, 50)))]
    hops = 0
    while (fields := with_one_hop_less("TRACE", fields or [])) is not None:
        hops += 1
    assert hops == min(count, 50)


def test_options_is_answered_without_a_word_about_what_backends_allow() -> None:
    answer = final_answer("OPTIONS", "*", "HTTP/1.1", [("Host", "a"), ("Max-Forwards", "0")])
    assert answer == ("204 No Content", [], b"")


def test_trace_is_answered_with_the_head_as_it_was_received() -> None:
    received = [("Host", "a"), ("x-B", "\xe9"), ("Max-Forwards", "0"), ("x-b", "2")]
    status, fields, body = final_answer("TRACE", "/a?b", "HTTP/1.1", received, "lb")
    assert (status, body) == (
        "200 OK",
        b"TRACE /a?b HTTP/1.1\r\nHost: a\r\nx-B: \xe9\r\nMax-Forwards: 0\r\nx-b: 2\r\n\r\n",
    )
    assert fields == [("Content-Type", "message/http"), ("Content-Length", str(len(body))), ("Via", "1.1 lb")]


@pytest.mark.parametrize("secret", ["Cookie", "AUTHORIZATION", "proxy-authorization"])
def test_trace_shows_no_credentials(secret: str) -> None:
    """RFC 9110 §9.3.8."""
    _, _, body = final_answer("TRACE", "/", "HTTP/1.1", [(secret, "x"), ("A", "1"), (secret, "y")])
    assert body == b"TRACE / HTTP/1.1\r\nA: 1\r\n\r\n"


test_any_head_is_forwarded_without_fields_of_this_hop = property_test("fields")
