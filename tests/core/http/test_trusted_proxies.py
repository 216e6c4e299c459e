from __future__ import annotations

from ipaddress import ip_network

import pytest

from lbflask.core.http.trusted_proxies import TrustedProxies
from tests.support.changes import property_test

OURS = TrustedProxies([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.0.0.1", True),
        ("10.255.255.255", True),
        ("11.0.0.1", False),
        ("::ffff:10.0.0.1", True),
        ("fd00::1", True),
        ("fe80::1", False),
        ("", False),
        ("unix:", False),
        ("localhost", False),
        ("10.0.0.1:80", False),
        ("10.0.0", False),
    ],
)
def test_only_an_address_within_a_trusted_network_is_trusted(address: str, trusted: bool) -> None:
    assert [OURS(address), OURS(address)] == [trusted, trusted]  # the second answer is remembered
    assert TrustedProxies()(address) is False


def test_its_repr_names_the_networks() -> None:
    assert repr(OURS) == "TrustedProxies(10.0.0.0/8, fd00::/8)"


def test_answers_stay_right_after_more_addresses_than_are_remembered() -> None:
    test = TrustedProxies([ip_network("10.0.0.0/8")])
    for index in range(5000):
        assert test(f"10.0.{index // 256}.{index % 256}")
        assert not test(f"11.0.{index // 256}.{index % 256}")
    assert test("10.0.0.0")
    assert not test("11.0.0.0")


test_any_text_is_the_address_that_the_system_reads = property_test("address")
