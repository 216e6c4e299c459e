from __future__ import annotations

from tests.support.changes import property_test

test_any_body_is_a_call_or_refused = property_test("body")
