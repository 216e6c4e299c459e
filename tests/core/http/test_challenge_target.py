"""Which request targets are those of challenges."""

from __future__ import annotations

import pytest

from lbflask.core.http.challenge_target import is_challenge

PLACE = "/.well-known/acme-challenge/"


@pytest.mark.parametrize(
    ("target", "is_one"),
    [
        (f"{PLACE}a-Z_9", True),
        (PLACE, False),
        (f"{PLACE}a/b", False),
        (f"{PLACE}a?b", False),
        (f"{PLACE}a\n", False),
        (f"{PLACE}{'a' * 513}", False),
        (f"/x{PLACE}a", False),
        ("/", False),
    ],
)
def test_a_challenge_is_a_token_at_its_place(target: str, is_one: bool) -> None:
    assert is_challenge(target) is is_one
