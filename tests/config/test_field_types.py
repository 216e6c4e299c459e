from __future__ import annotations

from tests.support.changes import property_test

test_any_value_is_accepted_twice_or_rejected = property_test("setting")
