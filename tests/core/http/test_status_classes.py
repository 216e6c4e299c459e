from __future__ import annotations

import pytest

from lbflask.core.http.status_classes import statuses_of
from tests.support.changes import property_test


def test_a_status_stands_for_itself_and_a_class_for_all_of_its_statuses() -> None:
    assert statuses_of([]) == frozenset()
    assert statuses_of(["404", "404", "200"]) == {404, 200}
    assert statuses_of(["5xx"]) == set(range(500, 600))
    assert statuses_of(["2XX", "404"]) == {*range(200, 300), 404}


@pytest.mark.parametrize("text", ["", "4", "40", "4x", "6xx", "099", "404 ", "404\n", "\u0664xx", "200-299"])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no status: write one such as 404, or a class such as 5xx"):
        statuses_of([text])


test_any_setting_is_accepted_as_one_value_or_rejected = property_test("setting")
