from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.forwarded import forwarded_element, forwarded_elements, plain_line
from tests.support.changes import property_test

#: RFC 7239 §4, for one element: pairs of a token and a token or quoted string.
TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
QUOTED = r'"(?:[^"\\]|\\.)*"'
ELEMENT = re.compile(rf"{TOKEN}=(?:{TOKEN}|{QUOTED})(?:;{TOKEN}=(?:{TOKEN}|{QUOTED}))*", re.DOTALL)


@pytest.mark.parametrize(
    ("peer", "host", "scheme", "element"),
    [
        ("192.0.2.1", "", "http", "for=192.0.2.1;proto=http"),
        ("192.0.2.1", "example.com", "https", "for=192.0.2.1;host=example.com;proto=https"),
        ("192.0.2.1", "example.com:81", "http", 'for=192.0.2.1;host="example.com:81";proto=http'),
        ("2001:db8::1", "[::1]:80", "http", 'for="[2001:db8::1]";host="[::1]:80";proto=http'),
        ("fe80::1%eth0", "", "http", 'for="[fe80::1]";proto=http'),
        ("::ffff:192.0.2.1", "", "http", "for=192.0.2.1;proto=http"),
        ("_hidden", "", "", "for=_hidden"),
        ("_hid den", "", "", "for=unknown"),
        ("unix:", "a", "http", "for=unknown;host=a;proto=http"),
        ("", "a", "http", "for=unknown;host=a;proto=http"),
        ("192.0.2.1", 'a";for=evil', "http", r'for=192.0.2.1;host="a\";for=evil";proto=http'),
        ("192.0.2.1", "a\\", "http", r'for=192.0.2.1;host="a\\";proto=http'),
    ],
)
def test_an_element_says_for_whom_and_what_was_asked(peer: str, host: str, scheme: str, element: str) -> None:
    assert forwarded_element(peer, host, scheme) == element


def test_the_element_of_a_node_alone_has_no_host_and_no_scheme() -> None:
    assert forwarded_element("192.0.2.1") == forwarded_element("192.0.2.1", "", "") == "for=192.0.2.1"


@given(st.ip_addresses().map(str) | st.text(max_size=8), st.text(st.characters(codec="latin-1"), max_size=12))
def test_whatever_host_is_asked_for_the_element_is_one(peer: str, host: str) -> None:
    assert ELEMENT.fullmatch(forwarded_element(peer, host, "http"))


@pytest.mark.parametrize(
    ("lines", "elements"),
    [
        ([], []),
        ([""], []),
        (["for=192.0.2.1"], [{"for": "192.0.2.1"}]),
        (["For=a; Proto=https ;HOST=b , for=c", "for=d"],
         [{"for": "a", "proto": "https", "host": "b"}, {"for": "c"}, {"for": "d"}]),
        (['for="[2001:db8::1]:443";host="a\\"b"'], [{"for": "[2001:db8::1]:443", "host": 'a"b'}]),
        (["for=[::1]:80,, for=b ,"], [{"for": "[::1]:80"}, {"for": "b"}]),
        (["for=a;;proto=b;"], [{"for": "a", "proto": "b"}]),
        ([" , for=a"], [{"for": "a"}]),
        (["for=a;for=b"], [{"for": "a"}]),
        (['for="a, for=b'], []),
        (["for=a, junk"], []),
        (["for = a"], []),
    ],
)  # fmt: skip
def test_elements_are_read_over_all_lines_or_not_at_all(lines: list[str], elements: list[dict[str, str]]) -> None:
    assert forwarded_elements(lines) == elements


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        (
            'For="[::ffff:192.0.2.1]:80";proto=http, BY="[::ffff:10.0.0.1]"',
            'For="192.0.2.1:80";proto=http, BY=10.0.0.1',
        ),
        ('for=192.0.2.1;host="::ffff:192.0.2.1"', 'for=192.0.2.1;host="::ffff:192.0.2.1"'),
        ('for="[2001:db8::1]"', 'for="[2001:db8::1]"'),
        ('for="[::ffff:192.0.2.1]", junk', 'for="[::ffff:192.0.2.1]", junk'),
    ],
)
def test_only_mapped_addresses_of_nodes_change(line: str, plain: str) -> None:
    assert plain_line(line) == plain


test_any_line_has_elements_or_none = property_test("forwarded")
