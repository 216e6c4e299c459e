from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.framing import CHUNKED, NO_BODY, UNTIL_CLOSE, BadFraming, Framing, response_framing
from lbflask.core.http.types import Fields
from tests.support.changes import property_test


def length(value: str) -> Fields:
    return [("Content-Length", value)]


def coding(*values: str) -> Fields:
    return [("Transfer-Encoding", value) for value in values]


@pytest.mark.parametrize(
    ("fields", "framing"),
    [
        ([], UNTIL_CLOSE),
        (length("0"), Framing(0)),
        (length("5"), Framing(5)),
        (length(" 5\t"), Framing(5)),  # blanks around a value are not of it (RFC 9112 §5)
        (length("007"), Framing(7)),
        ([("cOnTeNt-LeNgTh", "5")], Framing(5)),
        (length("9223372036854775807"), Framing((1 << 63) - 1)),
        (length("0" * 5000 + "7"), Framing(7)),
        (coding("chunked"), Framing(None, chunked=True)),
        (coding(" ChunKed "), CHUNKED),
        ([("TRANSFER-ENCODING", "chunked")], CHUNKED),
        ([("Content-Lengths", "5"), ("Content-Type", "6")], UNTIL_CLOSE),
    ],
)
def test_the_length_of_a_response_is_told_by_its_fields(fields: Fields, framing: Framing) -> None:
    assert response_framing("GET", 200, fields) == framing


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("HEAD", 404), ("GET", 204), ("GET", 304), ("GET", 100), ("POST", 103)]
)
@pytest.mark.parametrize("fields", [[], length("5"), coding("chunked"), length("5") + coding("chunked")])
def test_some_responses_have_no_body_whatever_their_fields_say(method: str, status: int, fields: Fields) -> None:
    assert response_framing(method, status, fields) == NO_BODY


@pytest.mark.parametrize(
    "fields",
    [
        length("5") + coding("chunked"),
        coding("chunked") + length("5"),
        length("5") + length("5"),
        length("5") + length("6"),
        length(""),
        length("-1"),
        length("+5"),
        length("5, 5"),
        length("5 5"),
        length("0x5"),
        length("5.0"),
        length("1_000"),
        length("\xb2"),  # a digit to Python, but not to HTTP
        length("9223372036854775808"),  # a signed number of 64 bits does not hold it
        length("9" * 20),
        length("9" * 5000),
        coding("gzip"),
        coding("gzip, chunked"),
        coding("gzip", "chunked"),
        coding("chunked", "chunked"),
        coding("chun", "ked"),
        coding("chunked, gzip"),
        coding("identity"),
        coding(""),
        coding("xchunked"),
    ],
)
def test_a_length_that_is_not_certain_is_refused(fields: Fields) -> None:
    """RFC 9112 §6.3. The text of the error names the fields."""
    with pytest.raises(BadFraming) as refused:
        response_framing("GET", 200, fields)
    assert all(name in str(refused.value) for name, _ in fields)


@given(st.text(st.characters(max_codepoint=0xFF), max_size=30))
def test_a_content_length_is_a_number_or_refused(value: str) -> None:
    try:
        framing = response_framing("GET", 200, length(value))
    except BadFraming:
        return
    assert framing.length is not None
    assert not framing.chunked
    assert str(framing.length) == (value.strip(" \t").lstrip("0") or "0")


@pytest.mark.parametrize(
    ("framing", "empty"),
    [(NO_BODY, True), (Framing(0), True), (Framing(1), False), (CHUNKED, False), (UNTIL_CLOSE, False)],
)
def test_only_a_known_length_of_zero_is_empty(framing: Framing, empty: bool) -> None:
    assert framing.empty is empty


test_any_lines_have_one_framing_or_none = property_test("framing")
