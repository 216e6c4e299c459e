"""Credentials of requests, the fields that checks grant, and files of users."""

from __future__ import annotations

from fuzz.properties.fields import lines_of
from lbflask.core.http.credentials import MAX_USER, basic_credentials, bearer_token, field_text
from lbflask.core.http.granted_fields import GrantedFields, folded
from lbflask.core.password_file import BadPasswordLine, password_hashes


def authorization(text: str) -> None:
    """A head with credentials: a user within bounds and without controls, or none."""
    received = lines_of(text)
    found = basic_credentials(received)
    if found is not None:
        assert 0 < len(found.user.encode()) <= MAX_USER
        assert ":" not in found.user
        assert found.user.isprintable() or not any(sign < " " for sign in found.user)
    token = bearer_token(received)
    assert not token or (token.isascii() and " " not in token)
    assert not (found and token)
    assert not set(field_text(text)) & set("\r\n\0")


def granted_fields(text: str) -> None:
    """A head before a check that grants a user: one field has the user, and no Connection field names it."""
    received = lines_of(text)
    kept = GrantedFields(["X-Forwarded-User"]).of(received, [("X-Forwarded-User", "alice")])
    named = [pair for pair in kept if folded(pair[0]) == "x-forwarded-user"]
    assert named == [("X-Forwarded-User", "alice")]
    options = [value.lower() for name, value in kept if name.lower() == "connection"]
    assert not any(option.strip(" \t") == "x-forwarded-user" for value in options for option in value.split(","))
    assert [pair for pair in kept if pair in received and pair not in named] == [
        pair for pair in kept[:-1] if pair in received
    ]


def password_file(text: str) -> None:
    """A file of users: printable names with hashes of the two kinds, or a line with a reason that shows no hash."""
    try:
        found = password_hashes(text)
    except BadPasswordLine as error:
        assert 1 <= error.line <= len(text.splitlines()) + 1
        assert len(str(error).splitlines()) == 1
        return
    assert found
    assert all(user.isprintable() and one.kind in ("bcrypt", "argon2") for user, one in found.items())
