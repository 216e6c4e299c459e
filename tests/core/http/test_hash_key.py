from __future__ import annotations

import pytest

from lbflask.core.http.fields import Fields
from lbflask.core.http.hash_key import HashKey

FIELDS: Fields = [
    ("Host", "shop.example"),
    ("x-tenant", "acme"),
    ("Cookie", 'a=1; session="s 1"; empty='),
    ("X-Tenant", "beta"),
    ("cookie", "session=later; b = 2"),
    ("X-Empty", ""),
]
TARGET = "/basket?a=1&user=J%6fe&user=2&flag&empty="


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("client", "192.0.2.1"),
        ("uri", TARGET),
        ("header:X-Tenant", "acme, beta"),
        ("header:host", "shop.example"),
        ("header:X-Empty", None),
        ("header:X-Absent", None),
        ("cookie:a", "1"),
        ("cookie:session", "s 1"),
        ("cookie:Session", "s 1"),
        ("cookie:empty", None),
        ("query:a", "1"),
        ("query:user", "Joe"),
        ("query:flag", None),
        ("query:empty", None),
        ("query:basket", None),
    ],
)
def test_the_key_stands_where_it_was_said_to(text: str, key: str | None) -> None:
    assert HashKey.parse(text).of("192.0.2.1", TARGET, FIELDS) == key


@pytest.mark.parametrize("text", ["client", "header:a", "cookie:a", "query:a"])
def test_a_request_may_have_no_key(text: str) -> None:
    assert HashKey.parse(text).of("", "/", []) is None


def test_whoever_comes_through_a_unix_socket_without_an_address_is_nobody() -> None:
    assert HashKey.parse("client").of("unix:", "/", []) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Client",
        "client:x",
        "uri:",
        "path",
        "header",
        "header:",
        "header:a b",
        "cookie:a=b",
        "query:a&b",
        "query:a=b",
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be client|is no name"):
        HashKey.parse(text)
