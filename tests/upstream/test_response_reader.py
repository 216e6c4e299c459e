from __future__ import annotations

from tests.support.changes import property_test

test_any_response_is_read_as_by_another_library_or_rejected = property_test("response")
