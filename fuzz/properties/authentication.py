"""Credentials of requests, the fields that checks grant, files of users, tokens and their keys."""

from __future__ import annotations

from fuzz.properties.fields import lines_of
from lbflask.core.http.credentials import MAX_USER, basic_credentials, bearer_token, field_text
from lbflask.core.http.granted_fields import GrantedFields, StatedFields, folded
from lbflask.core.http.service_address import service_address
from lbflask.core.password_file import BadPasswordLine, password_hashes
from lbflask.core.web_token import ALGORITHMS, MAX_KEY_ID, BadToken, TokenRules, claim_fields, web_token
from lbflask.credentials.key_set import BadKeySet, KeySet


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
    stated = StatedFields(["x-forwarded-user"]).dropped_from(received)
    assert stated == [pair for pair in received if folded(pair[0]) != "x-forwarded-user"]
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


def service(text: str) -> None:
    """A URL of a service: a host and a target that can stand in a head, or a reason."""
    try:
        found = service_address(text)
    except ValueError:
        return
    assert found.target.startswith("/")
    assert " " not in found.target + found.host
    assert (found.target + found.host).isprintable()
    assert 0 < found.address.port < 65536


def token(text: str) -> None:
    """A token: an allowed algorithm, claims that are accepted or refused, and fields that end no line."""
    try:
        found = web_token(text, list(ALGORITHMS))
        assert found.algorithm in ALGORITHMS
        assert len(found.key_id) <= MAX_KEY_ID
        TokenRules(list(ALGORITHMS), "issuer", ("shop",)).expiry(found.claims, 1_700_000_000.0)
    except BadToken:
        return
    for _, value in claim_fields(found.claims, {"sub": "X-User", "groups": "X-Groups"}):
        assert not set(value.encode("latin-1")) & set(range(32))


def keys(data: bytes) -> None:
    """A set of keys: some that can verify, or a reason."""
    try:
        assert len(KeySet.parsed(data)) > 0
    except BadKeySet:
        return
