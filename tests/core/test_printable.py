from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("503 from Łódź, 中 <b>", "503 from Łódź, 中 <b>"),
        ("a\x1b[2Jb", "a?[2Jb"),
        ("two\nlines", "two?lines"),
        ("\u202eright to left", "?right to left"),
        ("\ud800", "?"),
    ],
)
def test_signs_that_are_not_printable_are_question_marks(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_the_result_is_printable_has_an_encoding_and_is_as_long(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) == len(text)
    assert shown.encode().decode() == shown
