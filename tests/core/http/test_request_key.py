from __future__ import annotations

import pytest

from lbflask.core.http.request_key import RequestKey, joint_key, parse_keys
from lbflask.core.http.types import Fields
from tests.support.changes import property_test

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
    assert RequestKey.parse(text).of("192.0.2.1", TARGET, FIELDS) == key


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("client", "client", ""),
        ("uri", "uri", ""),
        ("header:X-A", "header", "x-a"),
        ("cookie:A", "cookie", "A"),
        ("query:a.B", "query", "a.B"),
    ],
)
def test_a_key_has_a_kind_and_perhaps_a_name(text: str, kind: str, name: str) -> None:
    assert RequestKey.parse(text) == (kind, name)


@pytest.mark.parametrize("text", ["client", "header:a", "cookie:a", "query:a"])
def test_a_request_may_have_no_key(text: str) -> None:
    assert RequestKey.parse(text).of("", "/", []) is None


def test_whoever_comes_through_a_unix_socket_without_an_address_is_nobody() -> None:
    assert RequestKey.parse("client").of("unix:", "/", []) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Client",
        "client:x",
        "uri:",
        "path",
        "header",
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be client"):
        RequestKey.parse(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("header:", "'' is no name of a header"),
        ("header:a b", "'a b' is no name of a header"),
        ("cookie:a=b", "'a=b' is no name of a cookie"),
        ("query:a&b", "'a&b' is no name of a query parameter"),
        ("query:a=b", "'a=b' is no name of a query parameter"),
    ],
)
def test_a_name_that_cannot_stand_in_a_request_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        RequestKey.parse(text)


ONE_KEY = {
    "header:X-Api-Key": [
        [("X-Api-Key", value)]
        for value in ('"good"', "good,", ",good", "good, good", "\xa0good", "good\x85", "\xef\xbb\xbfgood", "good\x1f")
    ]
    + [[("X.Api.Key", "good")], [("x~api~key", " good")]],
    "header:Authorization": [
        [("Authorization", value)]
        for value in (
            "Bearer\tgood",
            "bearer\t\t good",
            "BEARER good",
            "Bearer good,",
            "Bearer , good",
            "\xa0Bearer good",
        )
    ],
    "header:Proxy-Authorization": [
        [("Proxy-Authorization", value)] for value in ("basic dTpw", "BASIC  dTpw=", "Basic dTpw,")
    ],
    "header:Host": [
        [("Host", value)]
        for value in ("SHOP.example", "shop.example.", "shop.example:80", "shop.Example:", "shop.example:080")
    ],
}
PLAIN = {
    "header:X-Api-Key": [("X-Api-Key", "good")],
    "header:Authorization": [("Authorization", "Bearer good")],
    "header:Proxy-Authorization": [("Proxy-Authorization", "Basic dTpw")],
    "header:Host": [("Host", "shop.example")],
}


@pytest.mark.parametrize(
    ("text", "fields"), [(text, fields) for text, spellings in ONE_KEY.items() for fields in spellings], ids=str
)
def test_another_spelling_of_a_header_names_the_same_value(text: str, fields: Fields) -> None:
    key = RequestKey.parse(text)
    (plain,) = key.values("", "/", PLAIN[text])
    assert plain in key.values("", "/", fields)
    assert plain == key.of("", "/", fields) or "," in fields[0][1]


@pytest.mark.parametrize(
    "blank",
    [
        *("%20", "%0a", "%c2%a0", "%1f", "%c2%85", "%e3%80%80", "%ef%bb%bf", "+", "%00", "%a0"),
        "%20%ef%bb%bf",
        "%e2%80%8b+",
    ],
)
@pytest.mark.parametrize("before", [False, True])
def test_blanks_around_a_parameter_are_no_part_of_it(blank: str, before: bool) -> None:
    if before and blank == "%00":
        return  # all that follows a NUL is cut
    value = blank * 2 + "vip" if before else "vip" + blank * 2
    assert RequestKey.parse("query:key").values("", f"/?key={value}", []) == ["vip"]


def test_a_list_in_one_line_counts_as_several_lines_do() -> None:
    """RFC 9110 §5.3: they are the same message."""
    key = RequestKey.parse("header:X-Api-Key")
    assert {"junk", "good"} <= set(key.values("", "/", [("X-Api-Key", "junk, good")]))


def test_prose_is_no_list() -> None:
    agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/1"
    assert RequestKey.parse("header:User-Agent").values("", "/", [("User-Agent", agent)]) == [agent]


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("Basic dTpw", "basic u:p"),
        ("Basic dTo", "basic u:"),
        ("Basic !", "basic"),
        ("Basic a", "basic a"),
        ("Basic", "basic"),
        ("", None),
    ],
)
def test_basic_credentials_are_their_text_if_they_can_be_read(value: str, key: str | None) -> None:
    assert RequestKey.parse("header:Authorization").of("", "/", [("Authorization", value)]) == key


@pytest.mark.parametrize(
    ("text", "target", "fields"),
    [
        ("query:key", "/?other=1;key=good", []),
        ("query:key", "/?key=good;other=1&more", []),
        ("query:key", "/?k%65y=g%6fod", []),
        ("query:key", "/?KEY[]=good", []),
        ("query:a_key", "/?a.key=good", []),
        ("query:a_key", "/?a+key=good", []),
        ("query:a_key", "/?a%20key=good", []),
        ("cookie:key", "/", [("Cookie", "other=1, key=good")]),
        ("header:X-Key", "/", [("X.Key", "good")]),
    ],
)
def test_each_place_that_a_backend_may_read_counts(text: str, target: str, fields: Fields) -> None:
    """docs/limits.md, "Spellings"."""
    assert "good" in RequestKey.parse(text).values("", target, fields)


@pytest.mark.parametrize(
    ("text", "target", "fields"),
    [
        ("query:key", "/?k+e+y=other", []),
        ("query:a_key", "/?akey=other", []),
        ("cookie:key", "/", [("Cookie", "keys=other")]),
        ("header:X-Key", "/", [("XKey", "other"), ("X-Keys", "other")]),
    ],
)
def test_similar_names_are_other_keys(text: str, target: str, fields: Fields) -> None:
    assert RequestKey.parse(text).values("", target, fields) == []


@pytest.mark.parametrize(
    ("value", "key"), [("%41", "A"), ("%2541", "A"), ("%252541", "%41"), ("%25%34%31", "A"), ("100%", "100%")]
)
def test_percent_encoding_is_undone_twice(value: str, key: str) -> None:
    assert RequestKey.parse("query:key").values("", f"/?key={value}", []) == [key]


@pytest.mark.parametrize(("value", "keys"), [('""', []), ('"', ['"']), ('"a', ['"a']), ('a"', ['a"']), ('"a"', ["a"])])
def test_only_a_pair_of_quotes_around_the_value_of_a_field_is_left_out(value: str, keys: list[str]) -> None:
    """RFC 9110 §5.6.4."""
    assert RequestKey.parse("header:X-Key").values("", "/", [("X-Key", value)]) == keys


@pytest.mark.parametrize("value", ['"go\\od"', '"\\147ood"', '"go\\157d"'])
def test_a_quoted_value_is_read_without_its_backslashes(value: str) -> None:
    """RFC 9110 §5.6.4, and the octal numbers of Python's cookies."""
    assert RequestKey.parse("cookie:key").values("", "/", [("Cookie", f"key={value}")]) == ["good"]
    assert RequestKey.parse("header:X-Key").values("", "/", [("X-Key", value)]) == ["good"]


test_any_spelling_of_a_value_is_one_key = property_test("request_key")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("uri", TARGET),
        ("client + cookie:a", "192.0.2.1\x001"),
        ("header:X-Absent + cookie:a", "\x001"),
        ("cookie:a + header:X-Absent", "1\x00"),
        ("header:X-Absent + cookie:none", None),
        ("header:X-Absent", None),
        ("query:a+b + query:user", "\x00Joe"),
    ],
)
def test_several_keys_make_one_of_what_a_request_has(text: str, key: str | None) -> None:
    assert joint_key(parse_keys(text), "192.0.2.1", TARGET, FIELDS) == key


@pytest.mark.parametrize("text", ["", "client+uri", "client + ", "client + client", "header:X-A + header:x-a", "path"])
def test_what_names_no_keys_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|stands there twice"):
        parse_keys(text)
