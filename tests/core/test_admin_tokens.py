"""Tokens of the admin listener: what is one, who has one, and that none is shown."""

from __future__ import annotations

import pytest

from lbflask.core.admin_tokens import AdminToken, Role, bearer, masked
from tests.support.changes import property_test

SECRET = "0123456789abcdef"
ALICE, BOB = AdminToken.parse(f"operator:alice:{SECRET}"), AdminToken.parse(f"read:bob@home:{SECRET[::-1]}")


def test_a_token_has_a_role_and_a_name() -> None:
    assert (ALICE.role, ALICE.name, BOB.role, BOB.name) == (Role.OPERATOR, "alice", Role.READ, "bob@home")


def test_a_secret_may_have_colons() -> None:
    token = AdminToken.parse(f"read:a:{SECRET}:{SECRET}")
    assert bearer([token], f"{SECRET}:{SECRET}") is token


@pytest.mark.parametrize(
    "text",
    ["", SECRET, f"alice:{SECRET}", f"admin:a:{SECRET}", f"read::{SECRET}", f"read:a b:{SECRET}", "read:a:short-secret"]
    + [f"read:a:{SECRET}{sign}" for sign in (" ", ",", "é", "\n", "\x7f")],
)
def test_anything_else_is_no_token_and_its_secret_is_not_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"token") as error:
        AdminToken.parse(text)
    assert SECRET not in str(error.value)


def test_whoever_knows_a_secret_has_its_token() -> None:
    assert bearer([ALICE, BOB], SECRET) is ALICE
    assert bearer([ALICE, BOB], SECRET[::-1]) is BOB


@pytest.mark.parametrize(
    "secret", ["", SECRET[:-1], SECRET + "x", SECRET.upper(), "\udcff", f"operator:alice:{SECRET}"]
)
def test_nobody_else_has_one(secret: str) -> None:
    assert bearer([ALICE, BOB], secret) is None
    assert bearer([], secret) is None


def test_a_token_does_not_show_its_secret() -> None:
    assert SECRET not in repr(ALICE) + str(ALICE)
    assert repr(ALICE.digest) not in repr(ALICE)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"read:a:{SECRET}", "read:a:***"),
        (f"read:a:b:{SECRET}", "read:a:***"),
        (SECRET, "***"),
        (f"x:a:{SECRET}", "***"),
    ],
)
def test_a_secret_is_masked_wherever_it_stands(text: str, shown: str) -> None:
    assert masked(text) == shown


test_any_tokens_are_accepted_or_rejected_without_their_secrets = property_test("tokens")
