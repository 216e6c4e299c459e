"""URLs of services that the balancer itself asks."""

from __future__ import annotations

import pytest

from lbflask.core.http.service_address import ServiceAddress, service_address
from lbflask.core.model import Address
from tests.support.changes import property_test


def test_a_url_has_its_parts() -> None:
    assert service_address("http://auth:4180/check?x=1") == ServiceAddress(
        "http://auth:4180", Address("http", "auth", 4180), "auth:4180", "/check?x=1"
    )
    assert service_address("https://login.example").address == Address("https", "login.example", 443)
    assert service_address("http://[::1]:80/").address == Address("http", "::1", 80)


@pytest.mark.parametrize(
    "url",
    [
        *("", "auth:4180", "ftp://auth/", "http://", "http://a:b/", "http://a:99999/", "http://u:p@a/", "http://a/#f"),
        *("http://a/ b", "http://a\n/", "http://ä/", "http://a/\\ü", "http://a b/"),
    ],
)
def test_other_texts_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must be a URL such as"):
        service_address(url)


test_any_text_is_an_address_or_refused = property_test("service_address")
