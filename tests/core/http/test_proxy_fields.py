from __future__ import annotations

import pytest

from lbflask.core.http.proxy_fields import is_claim, is_disguised_claim, states_address


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
