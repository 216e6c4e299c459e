from __future__ import annotations

from tests.support.changes import property_test

test_any_url_is_that_of_one_backend_or_rejected = property_test("backend")
