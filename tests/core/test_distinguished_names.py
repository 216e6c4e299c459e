from __future__ import annotations

import pytest

from lbflask.core.distinguished_names import MOST, line_of
from tests.support.changes import property_test


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ((), ""),
        (
            ((("countryName", "DE"),), (("organizationName", "Example"),), (("commonName", "app"),)),
            "CN=app,O=Example,C=DE",
        ),
        (((("organizationalUnitName", "Sales"), ("commonName", "J. Smith")),), "OU=Sales+CN=J. Smith"),
        (((("emailAddress", "a@example.com"),),), "emailAddress=a@example.com"),
        (((("commonName", 'a,b+c"d\\e<f>g;h'),),), 'CN=a\\,b\\+c\\"d\\\\e\\<f\\>g\\;h'),
        (((("commonName", " a "),),), "CN=\\ a\\ "),
        (((("commonName", "#a#"),),), "CN=\\#a#"),
        (((("commonName", " "),),), "CN=\\ "),
        (((("commonName", "Lu\u010di\u0107\r\n"),),), "CN=Lu\\C4\\8Di\\C4\\87\\0D\\0A"),
    ],
)
def test_a_name_is_one_line(name: tuple[tuple[tuple[str, str], ...], ...], line: str) -> None:
    assert line_of(name) == line


def test_a_long_name_is_cut() -> None:
    assert len(line_of([[("commonName", "a" * 10_000)]])) == MOST


test_any_name_is_one_line_of_printable_ascii = property_test("distinguished_name")
