from __future__ import annotations

from tests.support.changes import property_test

test_any_reply_is_a_snapshot = property_test("snapshot")
