from __future__ import annotations

import re

import pytest

from lbflask.core.log_fields import FIELDS, names_headers, parsed
from tests.support.changes import property_test
from tests.support.documentation import page


def test_the_page_on_logs_has_each_name_with_its_meaning() -> None:
    table = page("logging.md").partition("| name | value |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE) == list(FIELDS.items())


def test_a_format_is_texts_and_names_with_braces_for_those_that_are_doubled() -> None:
    assert parsed("{method} to {pool}; {{x}}") == (("", "method"), (" to ", "pool"), ("; {x}", ""))


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_may_be_named(name: str) -> None:
    assert parsed(f"{{{name}}}") == (("", name), ("", ""))


def test_a_header_field_may_be_named_in_any_case() -> None:
    assert parsed("{header.User-Agent}|") == (("", "header.user-agent"), ("|", ""))


def test_a_format_names_header_fields_or_none() -> None:
    assert names_headers("{id} {header.referer}")
    assert not names_headers("{id} header.referer {{header.referer}}")
    assert not names_headers("json")


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "Proxy-Authorization", "X-Api-Key", "X-Auth-Token"])
def test_no_header_field_with_secrets_may_be_named(name: str) -> None:
    with pytest.raises(ValueError, match="its values are secrets, which are in no log"):
        parsed(f"{{header.{name}}}")


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ("{clinet}", "limit, .*, header.NAME; {client} is near"),
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
