"""Which names get certificates on demand, and when the fleet forgets them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.certificate_demand import (
    FORGOTTEN_AFTER,
    MAX_FAILURES,
    DemandRule,
    demanded_names,
    has_room,
    is_forgotten,
    is_given_up,
)
from lbflask.core.certificate_orders import CertificateState, IssuedCertificate, NameState, PendingOrder
from lbflask.core.certificate_renewal import HOUR, OrderAttempts, Period

NOW = 1_800_000_000.0
LISTED = frozenset({"shop.example", "www.tenants.example"})
RULE = DemandRule(frozenset({"*.tenants.example", "other.example"}), LISTED, 3)
ANY = DemandRule(frozenset(), LISTED, 3)
VALID = IssuedCertificate("chain", "key", Period(NOW - 10, NOW + 10), "https://ca.test/dir")


@pytest.mark.parametrize("name", ["a.tenants.example", "other.example", "xn--bcher-kva.tenants.example"])
def test_names_that_match(name: str) -> None:
    assert RULE.matches(name)
    assert ANY.matches(name)


@pytest.mark.parametrize(
    "name",
    ["tenants.example", "a.b.tenants.example", "a.other.example", "another.example", "tenants.example.evil.example"],
)
def test_names_that_match_only_without_patterns(name: str) -> None:
    assert not RULE.matches(name)
    assert ANY.matches(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "*.tenants.example", "*", "shop.example", "www.tenants.example", "127.0.0.1", "a b.tenants.example"),
        *("../x.tenants.example", "-.tenants.example", "example", f"{'a' * 64}.tenants.example", "a:b.tenants.example"),
    ],
)
def test_names_that_never_match(name: str) -> None:
    assert not RULE.matches(name)
    assert not ANY.matches(name)


@given(st.text(max_size=300))
def test_any_text_is_judged(text: str) -> None:
    if RULE.matches(text):
        assert text == "other.example" or text.endswith(".tenants.example")


def test_names_of_the_fleet_are_on_demand_if_they_match_and_are_not_listed() -> None:
    names = dict.fromkeys(["b.tenants.example", "a.tenants.example", "shop.example", "gone.example"], NameState())
    assert demanded_names(CertificateState(None, names), RULE) == ("a.tenants.example", "b.tenants.example")


def test_a_name_is_given_up_after_some_failures_unless_it_has_a_certificate() -> None:
    failed = OrderAttempts((NOW,), MAX_FAILURES, "refused", NOW)
    assert is_given_up(NameState(attempts=failed))
    assert not is_given_up(NameState(VALID, None, failed))
    assert not is_given_up(NameState(attempts=OrderAttempts((NOW,), MAX_FAILURES - 1)))


def test_a_name_is_forgotten_with_its_certificate() -> None:
    assert not is_forgotten(NameState(VALID), VALID.validity.ends - 1)
    assert is_forgotten(NameState(VALID), VALID.validity.ends)


def test_a_name_that_failed_is_forgotten_a_day_later_but_not_before_it_may_be_tried_again() -> None:
    failed = NameState(attempts=OrderAttempts((NOW - 5, NOW), 3, "refused", NOW + 60))
    assert not is_forgotten(failed, NOW + FORGOTTEN_AFTER - 1)
    assert is_forgotten(failed, NOW + FORGOTTEN_AFTER)
    limited = NameState(attempts=OrderAttempts((NOW,), 3, "refused", NOW + 2 * FORGOTTEN_AFTER))
    assert not is_forgotten(limited, NOW + FORGOTTEN_AFTER)
    pending = NameState(order=PendingOrder("https://ca.test/order/1", "key", "https://ca.test/dir", NOW))
    assert not is_forgotten(pending, NOW + FORGOTTEN_AFTER)
    assert is_forgotten(NameState(), NOW)


def test_so_many_orders_begin_within_an_hour() -> None:
    begun = [NOW - HOUR, NOW - HOUR + 1, NOW, NOW + 99]
    assert has_room(begun, 3, NOW)
    assert not has_room(begun, 2, NOW)
    assert has_room([], 1, NOW)
