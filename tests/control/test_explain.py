from __future__ import annotations

from tests.support.changes import property_test

test_any_query_is_a_request_or_rejected = property_test("explanation")
