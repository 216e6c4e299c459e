from __future__ import annotations

from tests.support.changes import property_test

test_any_tokens_are_accepted_or_rejected_without_their_secrets = property_test("tokens")
