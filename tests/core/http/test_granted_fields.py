"""Fields that checks grant: no other peer writes them, and no Connection field removes them."""

from __future__ import annotations

from lbflask.core.http.granted_fields import GrantedFields, StatedFields
from tests.support.changes import property_test

GRANTED = GrantedFields(["Remote-User", "X-Forwarded-User"], dropped=["authorization"])
USER = [("Remote-User", "alice")]


def test_the_fields_of_strangers_are_replaced_in_any_spelling() -> None:
    received = [
        ("Accept", "*/*"),
        ("remote-user", "root"),
        ("Remote_User", "root"),
        ("REMOTE.USER", "root"),
        ("x-forwarded-user", "root"),
        ("Authorization", "Basic eA=="),
    ]
    assert GRANTED.of(received, USER) == [("Accept", "*/*"), ("Remote-User", "alice")]


def test_connection_cannot_name_them() -> None:
    assert GRANTED.of([("Connection", "Remote-User, X-Mine, close")], USER) == [("Connection", "X-Mine, close"), *USER]
    assert GRANTED.of([("connection", "remote_user")], USER) == USER
    assert GRANTED.of([("Connection", "keep-alive")], USER) == [("Connection", "keep-alive"), *USER]


def test_their_names_are_kept() -> None:
    assert GRANTED.kept == {"remote-user", "x-forwarded-user"}
    assert GRANTED.names == ("Remote-User", "X-Forwarded-User")
    assert "Remote-User" in repr(GRANTED)


test_any_head_has_one_user_after_a_check = property_test("granted_fields")


def test_what_clients_state_is_dropped_in_any_spelling() -> None:
    stated = StatedFields(["Remote-User", "X-Groups"])
    others = [("Accept", "*/*"), ("X-Remote-User", "a"), ("Remote-Users", "b")]
    assert stated.dropped_from(others) is others
    assert stated.dropped_from([*others, ("remote_user", "root"), ("X.GROUPS", "admin")]) == others
    assert "X-Groups" in repr(stated)
