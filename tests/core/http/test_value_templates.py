"""Variables in values of header fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.value_templates import (
    MAX_VALUE,
    VARIABLES,
    RequestFacts,
    UnknownVariable,
    ValueTemplate,
    field_value,
    parsed_value,
)
from tests.support.changes import property_test

test_any_edits_leave_the_framing_alone_or_are_rejected = property_test("header_edits")

FACTS = RequestFacts(
    client="192.0.2.7",
    scheme="https",
    host="shop.example:8443",
    method="GET",
    target="/a%20b?c=d&e",
    request_id="id-1",
    fields=[("X-Country", "de"), ("Accept", "a/b"), ("accept", "c/d"), ("X-Bad", "a\r\nb\x00c")],
    backend="web-1",
    pool="default",
    route="all",
    tls_version="TLSv1.3",
    tls_client_subject="CN=app",
)


def filled(text: str, facts: RequestFacts = FACTS) -> str:
    value = parsed_value(text, {"ZONE": "eu-1"})
    return value if isinstance(value, str) else value.filled(facts)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{scheme}", "https"),
        ("{client}", "192.0.2.7"),
        ("{scheme}://{host}{path}{query}", "https://shop.example/a%20b?c=d&e"),
        ("{authority}", "shop.example:8443"),
        ("{method} {request_id} {backend} {pool} {route}", "GET id-1 web-1 default all"),
        ("{tls.version} {tls.client_subject}", "TLSv1.3 CN=app"),
        ("{header.X-Country}", "de"),
        ("{header.x-country}{header.ACCEPT}", "dea/b, c/d"),
        ("{header.X-None}", ""),
        ("[{header.X-None}]", "[]"),
        ("{header.X-Bad}", "abc"),
        ("zone {env.ZONE}", "zone eu-1"),
        ("{{client}}", "{client}"),
        ("plain; $5 and $ and 100% pa$word ${x}", "plain; $5 and $ and 100% pa$word ${x}"),
        ('{"group":"a","endpoints":[{"url":"b"}]}', '{"group":"a","endpoints":[{"url":"b"}]}'),
        ("{} {{ }} } { {1} {a b}", "{} {{ }} } { {1} {a b}"),
        ("  {header.X-None}  ", ""),
    ],
)
def test_variables_stand_for_facts_of_the_request(text: str, value: str) -> None:
    assert filled(text) == value


def test_without_variables_it_is_a_text() -> None:
    assert parsed_value("max-age=60", {}) == "max-age=60"
    assert parsed_value("{env.A}{{b}}", {"A": "1"}) == "1{b}"
    assert isinstance(parsed_value("{client}", {}), ValueTemplate)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{remote_addr}", "there is no {remote_addr}: there are {client}"),
        ("{header.}", "there is no {header.}"),
        ("{Client}", "there is no {Client}"),
        ("$remote_addr", "'$remote_addr' is no variable here: there are {client}, {scheme}"),
        ("https://$host", "'$host' is no variable here"),
        ("${host}", "is no variable here"),
        ("a $http_x_token", "'$http_x_token' is no variable here"),
        ("{env.GONE}", "the variable GONE of the environment is not set"),
    ],
)
def test_what_stands_for_nothing_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UnknownVariable) as caught:
        parsed_value(text, {})
    assert reason in str(caught.value)


def test_what_is_not_known_yet_is_refused() -> None:
    with pytest.raises(UnknownVariable, match="is not known yet when this is sent"):
        parsed_value("{backend}", {}, without=frozenset({"backend"}))


@given(st.text(max_size=50), st.text(max_size=50), st.sampled_from(sorted(VARIABLES)))
def test_a_peer_cannot_leave_the_value(target: str, value: str, name: str) -> None:
    facts = RequestFacts(value, value, value, value, target, value, [("X-A", value)], value, value, value)
    template = parsed_value("<{" + name + "}{header.x-a}>", {})
    assert isinstance(template, ValueTemplate)
    found = template.filled(facts)
    assert found[0] == "<"
    assert found[-1] == ">"
    assert not set(found) & {"\r", "\n", "\x00"}


def test_a_long_value_is_cut() -> None:
    facts = RequestFacts("", "", "", "", "", "", [("X-A", "a" * 100_000)])
    assert len(filled("{header.x-a}", facts)) == MAX_VALUE


def test_equal_texts_are_equal_and_secrets_are_not_shown() -> None:
    one, other = (parsed_value("token {client}", {}) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert "token" not in repr(one)


def test_where_every_brace_counts_each_belongs_to_a_name() -> None:
    value = parsed_value("{{{client}}}", {}, every_brace=True)
    assert isinstance(value, ValueTemplate)
    assert value.filled(FACTS) == "{192.0.2.7}"
    with pytest.raises(UnknownVariable, match=r"there is no \{header\.a b\}"):
        parsed_value("{header.a b}", {}, every_brace=True)


def test_each_value_may_be_encoded_for_its_place() -> None:
    value = parsed_value(" {client}|{header.x-none} ", {})
    assert isinstance(value, ValueTemplate)
    assert value.encoded(FACTS, lambda name, text: f"<{name} {text}>") == " <client 192.0.2.7>|<header.x-none > "
    assert value.names == {"client", "header.x-none"}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("secret\n", "ends in a line break"),
        ("secret\r\n", "ends in a line break"),
        ("a\r\nX-Injected: b", "is not of printable ASCII"),
        ("a\nb\n", "is not of printable ASCII"),
        ("a\0", "is not of printable ASCII"),
        ("\u540d", "is not of printable ASCII"),
        ("\udcff", "is not UTF-8 text"),
    ],
)
@pytest.mark.parametrize("text", ["{env.KEY}", "Bearer {env.KEY}", "{client} {env.KEY}"])
def test_the_environment_begins_no_other_field(text: str, value: str, reason: str) -> None:
    with pytest.raises(UnknownVariable, match=f"^the variable KEY of the environment {reason}"):
        field_value(text, {"KEY": value})


def test_the_value_of_a_field_may_have_a_variable_of_the_environment() -> None:
    assert field_value("Bearer {env.KEY}", {"KEY": "a\tb~ "}) == "Bearer a\tb~ "
    assert field_value("{{env.KEY}}", {}) == "{env.KEY}"
    template = field_value("{env.KEY} {client}", {"KEY": "a"})
    assert isinstance(template, ValueTemplate)
    assert template.filled(FACTS) == "a 192.0.2.7"
    with pytest.raises(UnknownVariable, match="is not known yet"):
        field_value("{backend}", {}, without=frozenset({"backend"}))
    with pytest.raises(UnknownVariable, match="KEY of the environment is not set"):
        field_value("{env.KEY}", {})


def test_a_variable_of_the_environment_is_text() -> None:
    with pytest.raises(UnknownVariable, match="KEY of the environment is not UTF-8 text"):
        parsed_value("{env.KEY}", {"KEY": "\udcff"})
    assert parsed_value("{env.KEY}", {"KEY": "two\nlines"}) == "two\nlines"
