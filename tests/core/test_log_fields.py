from __future__ import annotations

import re

import pytest

from lbflask.core.log_fields import FIELDS, OF_LINES, check_field, needs_facts, parsed
from tests.support.changes import property_test
from tests.support.documentation import page


def test_the_page_on_logs_has_each_name_with_its_meaning() -> None:
    table = page("logging.md").partition("| name | value |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE) == list(FIELDS.items())


def test_a_format_is_texts_and_names_with_braces_for_those_that_are_doubled() -> None:
    assert parsed("{method} to {pool}; {{x}}") == (("", "method"), (" to ", "pool"), ("; {x}", ""))


@pytest.mark.parametrize("name", [*FIELDS, *OF_LINES])
def test_each_field_may_be_named(name: str) -> None:
    assert parsed(f"{{{name}}}") == (("", name), ("", ""))


def test_a_header_field_may_be_named_in_any_case() -> None:
    assert parsed("{header.User-Agent}|") == (("", "header.user-agent"), ("|", ""))


def test_a_header_field_of_the_response_may_be_named() -> None:
    assert parsed("{response_header.X-Cache}") == (("", "response_header.x-cache"), ("", ""))


def test_variables_of_the_environment_are_filled_in() -> None:
    assert parsed("{env.ZONE}/{id} {env.B}", {"ZONE": "eu", "B": "{x}"}) == (("eu/", "id"), (" {x}", ""))
    with pytest.raises(ValueError, match="the variable GONE of the environment is not set"):
        parsed("{env.GONE}")
    with pytest.raises(ValueError, match="a request is one line"):
        parsed("{env.LINES}", {"LINES": "a\nb"})


@pytest.mark.parametrize(
    ("form", "needed"),
    [
        ("{id} {header.referer}", True),
        ("{id} {scheme}", True),
        ("{id} {tls.version}", True),
        ("combined", True),
        ("{id} {path} {response_header.x} header.referer {{header.referer}}", False),
        ("json", False),
        ("text", False),
    ],
)
def test_a_format_needs_facts_of_the_request_or_none(form: str, needed: bool) -> None:
    assert needs_facts(form) is needed


def test_a_field_that_is_logged_has_a_name_and_no_secrets() -> None:
    check_field("User-Agent")
    with pytest.raises(ValueError, match="'a b' is not the name of a header field"):
        check_field("a b")
    with pytest.raises(ValueError, match="'Set-Cookie': its values are secrets, which are in no log"):
        check_field("Set-Cookie")


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "Proxy-Authorization", "X-Api-Key", "X-Auth-Token"])
def test_no_header_field_with_secrets_may_be_named(name: str) -> None:
    with pytest.raises(ValueError, match="its values are secrets, which are in no log"):
        parsed(f"{{header.{name}}}")
    with pytest.raises(ValueError, match="its values are secrets, which are in no log"):
        parsed(f"{{response_header.{name}}}")


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ("{clinet}", "limit, .*, header.NAME, response_header.NAME, env.NAME; {client} is near"),
        ("{header.}", "'' is not the name of a header field"),
        ("{header.a b}", "'a b' is not the name of a header field"),
        ("$remote_addr {id}", r"'\$remote_addr' is no name here: names are in braces, such as {client}"),
        ("{id} %{Referer}i", "'%' is no name|no {Referer}|is no name here"),
        ("{id} %[src]", r"'%\[src\]' is no name here"),
        ("{nobody}", "there is no {nobody}; there are time, id, client, "),
        ("{status!r}", "{status} takes no conversion"),
        ("{status:>5}", "{status} takes no conversion"),
        ("{status}\n{id}", "one line"),
        ("a\r", "one line"),
        ("{", "'{' is not paired"),
        ("{}", "{} has no name"),
    ],
)
def test_another_format_is_rejected_with_the_reason(form: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parsed(form)


test_any_format_is_one_of_lines_or_rejected = property_test("log_format")
