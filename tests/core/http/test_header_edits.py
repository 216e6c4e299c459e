from __future__ import annotations

from lbflask.core.http.fields import HOP_BY_HOP
from lbflask.core.http.header_edits import UNTOUCHABLE, Edits

FIELDS = [("X-A", "1"), ("set-cookie", "a"), ("x-b", "2"), ("Set-Cookie", "b"), ("X-B", "3"), ("Accept", "*/*")]


def test_without_a_rule_for_them_fields_keep_order_case_and_repeats() -> None:
    assert Edits(remove=["X-None"]).of(FIELDS) == FIELDS


def test_a_field_is_removed_in_whatever_case_and_with_all_of_its_lines() -> None:
    assert Edits(remove=["SET-COOKIE", "x-a"]).of(FIELDS) == [("x-b", "2"), ("X-B", "3"), ("Accept", "*/*")]


def test_a_field_that_is_set_stands_where_the_first_of_its_name_stood() -> None:
    edited = Edits(set_=[("X-b", "new")]).of(FIELDS)
    assert edited == [*FIELDS[:2], ("X-b", "new"), ("Set-Cookie", "b"), ("Accept", "*/*")]


def test_a_field_that_was_not_there_is_set_at_the_end() -> None:
    assert Edits(set_=[("X-New", "n")], add=[("X-A", "2")]).of(FIELDS) == [*FIELDS, ("X-New", "n"), ("X-A", "2")]


def test_what_was_given_stays_as_it_was() -> None:
    given, edits = list(FIELDS), Edits(set_=[("X-A", "9")], add=[("X-C", "1")])
    assert edits.of(given) == edits.of(given)
    assert given == FIELDS


def test_what_frames_a_message_or_belongs_to_one_connection_is_untouchable() -> None:
    """RFC 9110 §7.6.1, RFC 9112 §6."""
    assert HOP_BY_HOP | {"content-length", "host", "expect"} <= UNTOUCHABLE


def test_rules_that_say_the_same_are_equal() -> None:
    assert Edits(set_=[("A", "1")]) == Edits(set_=[("A", "1")])
    assert hash(Edits(remove=["A"])) == hash(Edits(remove=["A"]))
    assert Edits(remove=["A"]) != Edits(remove=["B"])
    assert Edits() != "rules"
