from __future__ import annotations

import pytest

from lbflask.core.log_fields import FIELDS, parsed


def test_a_format_is_texts_and_names_with_braces_for_those_that_are_doubled() -> None:
    assert parsed("{method} to {pool}; {{x}}") == [("", "method"), (" to ", "pool"), ("; {", None), ("x}", None)]


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_may_be_named(name: str) -> None:
    assert parsed(f"{{{name}}}") == [("", name)]


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ("{nobody}", "there is no {nobody}"),
        ("{status!r}", "takes no conversion"),
        ("{status:>5}", "takes no conversion"),
        ("{status}\n{id}", "one line"),
        ("a\r", "one line"),
        ("{", "'{'"),
    ],
)
def test_another_format_is_rejected_with_the_reason(form: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parsed(form)
