from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.fields import HOP_BY_HOP
from lbflask.core.http.header_edits import UNTOUCHABLE, EditCondition, Edits, edits_of
from lbflask.core.http.types import Fields
from lbflask.core.http.value_templates import RequestFacts, ValueTemplate, parsed_value
from tests.support.changes import property_test

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
    assert HOP_BY_HOP | {"content-length", "host", "expect", "http2-settings"} <= UNTOUCHABLE


def test_rules_that_say_the_same_are_equal() -> None:
    assert Edits(set_=[("A", "1")]) == Edits(set_=[("A", "1")])
    assert hash(Edits(remove=["A"])) == hash(Edits(remove=["A"]))
    assert Edits(remove=["A"]) != Edits(remove=["B"])
    assert Edits() != "rules"


test_any_edits_leave_the_framing_alone_or_are_rejected = property_test("header_edits")


FACTS = RequestFacts("192.0.2.7", "https", "shop.example", "GET", "/", "id", [])


def template(text: str) -> str | ValueTemplate:
    return parsed_value(text, {})


def test_values_with_variables_are_those_of_the_request() -> None:
    edits = Edits(set_=[("X-Scheme", template("{scheme}"))], add=[("X-A", template("{client}"))])
    assert edits.needs_facts
    edited = edits.of([("x-scheme", "ftp"), ("X-A", "1")], FACTS)
    assert edited == [("X-Scheme", "https"), ("X-A", "1"), ("X-A", "192.0.2.7")]


def test_an_empty_value_with_variables_only_removes_the_field() -> None:
    edits = Edits(set_=[("X-A", template("{header.X-None}"))], add=[("X-B", template("{header.X-None}"))])
    assert edits.of([("X-A", "of the client"), ("X-C", "")], FACTS) == [("X-C", "")]


@pytest.mark.parametrize(
    ("location", "moved"),
    [
        ("http://app:8000/a?b", "/a?b"),
        ("http://app:8000/app/a", "https://shop.example/a"),
        ("http://app:80001/", "http://app:80001/"),
        ("/app", "/app"),
        ("http://app:8000//evil.example/a", "/.//evil.example/a"),
        ("http://app:8000/\\evil.example", "/./\\evil.example"),
        ("http://app:8000/\t/evil.example", "/./\t/evil.example"),
        ("http://app:8000/app//evil.example", "https://shop.example//evil.example"),
    ],
)
def test_the_longest_prefix_of_a_location_is_replaced(location: str, moved: str) -> None:
    edits = Edits(locations={"http://app:8000/": "/", "http://app:8000/app/": "https://shop.example/"})
    assert edits.of([("LOCATION", location), ("X", location)]) == [("LOCATION", moved), ("X", location)]


def test_a_location_is_moved_to_another_host_only_by_the_configuration() -> None:
    edits = Edits(locations={"http://app:8000/": "//shop.example/"})
    assert edits.of([("Location", "http://app:8000/a")]) == [("Location", "//shop.example/a")]


def test_a_location_that_is_set_stays_as_it_is_set() -> None:
    edits = Edits(set_=[("Location", "/a/b")], locations={"/a/": "/"})
    assert edits.of([("location", "/a/c")]) == [("Location", "/a/b")]


NAMES = st.sampled_from(["X-A", "x-a", "X-B", "X-C", "Location"])
PAIRS = st.lists(st.tuples(NAMES, st.sampled_from(["1", "2", "3"])), max_size=3)
SET = PAIRS.map(lambda pairs: list({pair[0].lower(): pair for pair in pairs}.values()))
EDITS = st.builds(
    lambda set_, add, remove: Edits(set_=set_, add=add, remove=remove), SET, PAIRS, st.lists(NAMES, max_size=2)
)


@given(EDITS, EDITS, PAIRS)
def test_edits_as_one_do_what_they_do_one_after_the_other(first: Edits, second: Edits, fields: Fields) -> None:
    def by_name(edited: Fields) -> list[tuple[str, str]]:
        return sorted((name.lower(), value) for name, value in edited)

    together = edits_of(first, None, second)
    assert together is not None
    assert by_name(together.of(fields)) == by_name(second.of(first.of(fields)))


def test_no_edits_are_none() -> None:
    assert edits_of(None, None) is None


def names(fields: Fields) -> list[str]:
    return [name for name, _ in fields]


def test_a_default_is_set_only_where_there_is_none() -> None:
    edits = Edits(default=[("x-a", "9"), ("X-New", template("{client}")), ("X-Empty", template("{header.X-None}"))])
    assert edits.of(FIELDS, FACTS) == [*FIELDS, ("X-New", "192.0.2.7")]
    assert edits.needs_facts
    assert Edits(default=[("X-New", "1")]).of([]) == [("X-New", "1")]
    assert edits.of([]) == [("x-a", "9")]  # without a request


def test_a_default_is_set_where_the_same_edits_remove_the_field_before() -> None:
    assert Edits(remove=["X-A"]).then(Edits(default=[("X-A", "1")])).of([("X-A", "0")]) == [("X-A", "1")]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (EditCondition(statuses=frozenset({404})), True),
        (EditCondition(statuses=frozenset({200})), False),
        (EditCondition(present=frozenset({"x-a", "accept"})), True),
        (EditCondition(present=frozenset({"x-a", "x-none"})), False),
        (EditCondition(absent=frozenset({"x-none"})), True),
        (EditCondition(absent=frozenset({"x-none", "x-a"})), False),
        (EditCondition(frozenset({404}), frozenset({"x-a"}), frozenset({"x-none"})), True),
        (EditCondition(frozenset({404}), frozenset({"x-a"}), frozenset({"accept"})), False),
    ],
)
def test_edits_apply_where_all_of_their_conditions_hold(condition: EditCondition, holds: bool) -> None:
    edited = Edits(set_=[("X-New", "1")], condition=condition).of(FIELDS, None, 404)
    assert edited == ([*FIELDS, ("X-New", "1")] if holds else FIELDS)


def test_conditions_are_those_of_what_the_earlier_edits_leave() -> None:
    absent = EditCondition(absent=frozenset({"x-a"}))
    edits = edits_of(
        Edits(remove=["X-A"]),
        Edits(set_=[("X-First", template("{client}"))], condition=absent),
        Edits(set_=[("X-A", "2")]),
        Edits(set_=[("X-Last", "1")], condition=absent),
        Edits(add=[("X-B", "4")]),
        Edits(add=[("X-C", "5")]),
    )
    assert edits is not None
    assert edits.needs_facts
    assert names(edits.of([("X-A", "1")], FACTS)) == ["X-First", "X-A", "X-B", "X-C"]


def test_edits_with_conditions_follow_each_other_however_they_are_joined() -> None:
    one, other = (Edits(add=[("X-N", text)], condition=EditCondition(statuses=frozenset({200}))) for text in "12")
    plain = Edits(add=[("X-N", "3")])
    left, right = one.then(other).then(plain), one.then(other.then(plain))
    assert left == right
    assert hash(left) == hash(right)
    assert left.of([], None, 200) == [("X-N", "1"), ("X-N", "2"), ("X-N", "3")]
    assert left.of([], None, 404) == [("X-N", "3")]
    assert one != other
