"""Credentials: what is read of a request, and what is not."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.credentials import (
    MAX_CREDENTIALS,
    MAX_PASSWORD,
    MAX_USER,
    BasicCredentials,
    basic_credentials,
    bearer_token,
    challenge,
    exact_field_text,
    field_text,
)
from lbflask.core.http.types import Fields
from tests.support.changes import property_test


def basic(text: bytes, scheme: str = "Basic") -> Fields:
    return [("Host", "a"), ("Authorization", f"{scheme} {base64.b64encode(text).decode()}")]


def test_a_user_and_a_password_are_read() -> None:
    # The examples of RFC 7617 §2 and §2.1.
    assert basic_credentials(basic(b"Aladdin:open sesame")) == BasicCredentials("Aladdin", b"open sesame")
    assert basic_credentials([("authorization", "bAsIc  dGVzdDoxMjPCow== ")]) == ("test", "123£".encode())


@given(st.text(st.characters(exclude_categories=["C"], exclude_characters=":"), min_size=1, max_size=50), st.text())
def test_what_a_client_encodes_is_what_is_read(user: str, password: str) -> None:
    found = basic_credentials(basic(f"{user}:{password}".encode()))
    has_controls = any(sign < " " or sign == "\x7f" for sign in password)
    assert found == (None if has_controls else (user, password.encode()))


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("Authorization", "")],
        [("Authorization", "Basic")],
        [("Authorization", "Basic !!!!")],
        [("Authorization", "Basic dXNlcg==")],  # no colon
        [("Authorization", "Bearer dXNlcjpwYXNz")],
        basic(b":password"),
        basic(b"user:pass\nword"),
        basic(b"us\xff\xfeer:password"),
        basic(b"u" * (MAX_USER + 1) + b":password"),
        basic(b"user:" + b"p" * (MAX_PASSWORD + 1)),
        basic(b"user:" + b"p" * MAX_CREDENTIALS),
        basic(b"a:b") + basic(b"c:d"),
    ],
    ids=str,
)
def test_anything_else_is_no_user(fields: Fields) -> None:
    assert basic_credentials(fields) is None


def test_a_bearer_token_is_read() -> None:
    assert bearer_token([("Authorization", "Bearer mF_9.B5f-4.1JqM")]) == "mF_9.B5f-4.1JqM"
    assert bearer_token([("Authorization", "Bearer two words")]) == ""
    assert bearer_token(basic(b"a:b")) == ""


def test_a_challenge_quotes_its_parameters() -> None:
    assert challenge("Bearer", {}) == "Bearer"
    assert challenge("Basic", {"realm": 'the "inner" \\ part', "charset": "UTF-8"}) == (
        'Basic realm="the \\"inner\\" \\\\ part", charset="UTF-8"'
    )


def test_a_text_becomes_the_value_of_a_field() -> None:
    assert field_text(" a\r\nb\x85 ") == "ab"
    assert field_text("Zoë").encode("latin-1").decode() == "Zoë"
    field_text("\ud800").encode("latin-1")


def test_a_name_that_a_field_cannot_have_becomes_no_other_name() -> None:
    assert exact_field_text("Zoë Q").encode("latin-1").decode() == "Zoë Q"
    for name in ("root\0", "ro\r\not", " root", "root\u3000", "root\x85", "root\ud800"):
        assert not exact_field_text(name)


test_any_head_has_a_user_or_none = property_test("authorization")
