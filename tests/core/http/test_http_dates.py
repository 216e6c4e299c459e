from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.http_dates import date_seconds, date_text
from tests.support.changes import property_test

NOW = 1_800_000_000.0  # in 2027
EXAMPLE = 784_111_777  # of RFC 9110 section 5.6.7


@pytest.mark.parametrize(
    "text", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_the_three_forms_of_a_date_are_read(text: str) -> None:
    assert date_seconds(text, NOW) == EXAMPLE


@given(st.integers(0, 250_000_000_000))
def test_a_date_that_is_written_is_read_again(seconds: int) -> None:
    text = date_text(seconds)
    assert text == formatdate(seconds, usegmt=True)
    assert date_seconds(text, NOW) == seconds


@pytest.mark.parametrize(
    ("text", "year"), [("77", 2077), ("78", 1978), ("99", 1999), ("00", 2000), ("27", 2027), ("50", 2050)]
)
def test_a_year_of_two_digits_is_at_most_fifty_years_ahead(text: str, year: int) -> None:
    seconds = date_seconds(f"Friday, 01-Jan-{text} 00:00:00 GMT", NOW)
    assert seconds is not None
    assert datetime.fromtimestamp(seconds, UTC).year == year


def test_a_leap_second_is_the_second_before() -> None:
    assert date_seconds("Sat, 31 Dec 2016 23:59:60 GMT", NOW) == date_seconds("Sat, 31 Dec 2016 23:59:59 GMT", NOW)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, 32 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 1994 25:49:37 GMT",
        "Sun Nov  0 08:49:37 1994",
        " Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT\n",
    ],
)
def test_another_text_is_no_date(text: str) -> None:
    assert date_seconds(text, NOW) is None


@given(st.text(max_size=60))
def test_no_text_is_an_error(text: str) -> None:
    assert date_seconds(text, NOW) is None or text.isprintable()


test_any_fields_have_an_answer = property_test("file_request")
