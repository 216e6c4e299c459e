from __future__ import annotations

import re
from pathlib import Path

import pytest

from lbflask.core.http.fields import ClientHop, forwarded_by_us
from lbflask.core.http.proxy_fields import WRITTEN, is_claim, is_disguised_claim, states_address
from tests.support.changes import property_test

PAGE = Path(__file__).parents[3] / "docs" / "forwarding.md"
#: The names in the first column of the table of dropped fields, and whether the second column is the address.
DOCUMENTED = {
    name: stated == "the client's address"
    for names, stated in re.findall(r"^\| (`.*?) \| (.*?) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    for name in re.findall(r"`([A-Z][A-Za-z0-9-]+)`", names)
}


def test_fields_that_the_documentation_lists_are_claims() -> None:
    assert {"X-Forwarded", "X-Real-IP", "X-Rewrite-URL"} <= DOCUMENTED.keys()
    assert [name for name in DOCUMENTED if not is_claim(name)] == []
    assert {name: states_address(name) for name in DOCUMENTED} == DOCUMENTED


def test_fields_that_each_request_gets_are_written() -> None:
    hop = ClientHop("192.0.2.1", "http", "80", trusted=False, via=None, forwarded=True)
    assert {name.lower() for name, _ in forwarded_by_us(hop, "shop.example")} == WRITTEN


@pytest.mark.parametrize("name", ["X-Forwarded-For", "x-forwarded-anything", "Forwarded", "X-REAL-IP", "X-Rewrite-URL"])
def test_claims_in_any_case(name: str) -> None:
    assert is_claim(name)
    assert not is_disguised_claim(name)


@pytest.mark.parametrize("name", ["X-Forwarded", "Forwarded-For", "True-Client-IP"])
def test_fields_of_addresses_are_claims(name: str) -> None:
    assert is_claim(name)
    assert states_address(name) is (name != "X-Forwarded")


@pytest.mark.parametrize("name", ["X_Forwarded_For", "x.real.ip", "X-Forwarded_For"])
def test_names_that_become_claims_as_cgi_variables(name: str) -> None:
    assert is_disguised_claim(name)


@pytest.mark.parametrize("name", ["Accept", "X-Request-ID", "X_Other", "Host"])
def test_other_names_are_no_claims(name: str) -> None:
    assert not any(test(name) for test in (is_claim, is_disguised_claim, states_address))


test_any_head_is_forwarded_without_fields_of_this_hop = property_test("fields")
