from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.fields import (
    HOP_BY_HOP,
    ClientHop,
    RequestHead,
    RequestRules,
    backend_request,
    bodiless_response,
    client_response,
    credible_fields,
    nominated,
    request_identity,
    request_origin,
    te_trailers,
)
from lbflask.core.http.trusted_proxies import TrustedProxies
from lbflask.core.http.types import Fields
from tests.support.changes import property_test

STRANGER = ClientHop("203.0.113.9", "http", "80", trusted=False, via=None)
PROXY = STRANGER._replace(peer="10.0.0.1", trusted=True)
OURS = TrustedProxies([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
#: What is added for a stranger that asked for no host.
WRITTEN = [
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-Forwarded-Proto", "http"),
    ("X-Forwarded-Port", "80"),
    ("X-Real-IP", "203.0.113.9"),
    ("X-Request-ID", "made"),
]


def forwarded(received: Fields, hop: ClientHop = STRANGER, host: str = "") -> RequestHead:
    head = backend_request(received, hop, host=host, request_id="made", is_trusted=OURS)
    assert request_identity(received, hop, host, "made", OURS) == (head.client, head.request_id)
    return head


def passed(received: Fields) -> Fields:
    """What of a stranger's fields reaches the backend, without what is written for every request."""
    fields = forwarded(received).fields
    assert fields[-len(WRITTEN) :] == WRITTEN
    return fields[: -len(WRITTEN)]


def values(fields: Fields, name: str) -> list[str]:
    return [value for key, value in fields if key.lower() == name.lower()]


# What passes unchanged


def test_fields_pass_in_their_order_case_and_number() -> None:
    received = [
        ("b", "2"),
        ("A", " 1 "),
        ("B", "3"),
        ("a", ""),
        ("Accept", "x"),
        ("accept", "y"),
        ("X-\xe9", "\xff"),
    ]
    assert passed(received) == received


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (["a=1"], "a=1"),
        (["a=1; b=2"], "a=1; b=2"),
        (["a=1", "b=2"], "a=1; b=2"),
        (["a=1", "b=2; c=3", "a=1"], "a=1; b=2; c=3; a=1"),
        (["", "b=2", ""], "b=2"),
        (["a=\xe9, ", ";"], "a=\xe9, ; ;"),
    ],
)
def test_several_cookie_lines_leave_as_one_where_the_first_stood(lines: list[str], line: str) -> None:
    """RFC 6265 §5.4. G15: with a comma between them they would be one cookie."""
    first, *rest = lines
    received = [("A", "1"), ("cookie", first), ("B", "2"), *(("COOKIE", more) for more in rest), ("A", "3")]
    assert passed(received) == [("A", "1"), ("cookie", line), ("B", "2"), ("A", "3")]


def test_nominated_fields_before_the_cookies_do_not_move_them() -> None:
    received = [("X-A", "1"), ("Connection", "x-a"), ("Cookie", "a=1"), ("B", "2"), ("Cookie", "b=2")]
    assert passed(received) == [("Cookie", "a=1; b=2"), ("B", "2")]
    assert passed([("Connection", "cookie"), ("Cookie", "a=1"), ("Cookie", "b=2"), ("B", "2")]) == [("B", "2")]


def test_a_response_keeps_each_set_cookie_and_its_content_length() -> None:
    received = [
        ("Set-Cookie", "a=1"),
        ("Content-Length", "3"),
        ("set-cookie", "b=2"),
        ("Date", "now"),
        ("Set-Cookie", "a=1"),
    ]
    assert client_response(received, None) == received


# Trailers (RFC 9110 §10.1.4)


@pytest.mark.parametrize(
    ("lines", "takes"),
    [
        ([], False),
        ([""], False),
        (["trailers"], True),
        (["Trailers"], True),
        (["gzip, trailers"], True),
        (["gzip;q=0.5", " ,TRAILERS\t, "], True),
        (["gzip, deflate;q=0.5"], False),
        (["trailer"], False),
        (["x-trailers"], False),
        (["trailers;q=0"], False),
        (["gzip;trailers"], False),
    ],
)
def test_of_te_only_trailers_go_on_and_connection_names_the_field(lines: list[str], takes: bool) -> None:
    received = [("Connection", "TE, close"), *(("Te", line) for line in lines), ("A", "1")]
    assert te_trailers(received) is takes
    assert passed(received) == [("A", "1")] + ([("TE", "trailers"), ("Connection", "TE")] if takes else [])


def test_a_client_of_http_1_0_gets_no_trailers() -> None:
    received = [("TE", "trailers"), ("A", "1")]
    assert te_trailers(received, "HTTP/1.0") is False
    old = STRANGER._replace(protocol="HTTP/1.0")
    assert forwarded(received, old).fields == [("A", "1"), *WRITTEN]


# What is hop-by-hop (RFC 9110 §7.6.1; §6.6.2; §11.7)


@pytest.mark.parametrize(
    "name",
    [
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    ],
)
def test_hop_by_hop_fields_cross_in_no_direction_in_any_case(name: str) -> None:
    for spelled in (name, name.title(), name.upper()):
        received = [("A", "1"), (spelled, "x"), ("B", "2")]
        assert passed(received) == [("A", "1"), ("B", "2")]
        assert client_response(received, None) == [("A", "1"), ("B", "2")]


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ([], set()),
        ([""], set()),
        (["close"], {"close"}),
        (["A, b ,\tC\t"], {"a", "b", "c"}),
        (["a", "B, c"], {"a", "b", "c"}),
        ([",, ,a,,"], {"a"}),
        (["Host, content-length, DATE, x"], {"x"}),
    ],
)
def test_connection_lines_nominate_fields_by_name(lines: Sequence[str], names: set[str]) -> None:
    assert nominated(lines) == names


@pytest.mark.parametrize(
    "connection",
    [
        ["x-a, X-B"],
        ["X-A", "x-b"],
        ["close, X-a,, ,x-B,"],
        ["keep-alive,x-a", "", "x-b"],
        ["keep-alive", "x-a, x-b"],
    ],
)
def test_nominated_fields_are_removed_in_both_directions(connection: list[str]) -> None:
    received = [("X-A", "1"), *(("Connection", line) for line in connection), ("x-a", "2"), ("X-B", "3"), ("X-C", "4")]
    assert passed(received) == [("X-C", "4")]
    assert client_response(received, None) == [("X-C", "4")]


def test_a_connection_line_removes_fields_that_stand_before_it_too() -> None:
    assert passed([("X-A", "1"), ("X-B", "2"), ("Connection", "x-a")]) == [("X-B", "2")]


def test_close_and_keep_alive_are_options_of_the_connection_and_no_fields() -> None:
    received = [("Connection", "close, keep-alive"), ("Close", "door"), ("X-A", "1")]
    assert passed(received) == [("Close", "door"), ("X-A", "1")]
    assert client_response(received, None) == [("Close", "door"), ("X-A", "1")]


def test_no_connection_line_can_remove_what_gives_a_response_its_meaning() -> None:
    received = [("Connection", "content-length, date"), ("Content-Length", "3"), ("Date", "now")]
    assert client_response(received, None) == received[1:]


@pytest.mark.parametrize("hop", [STRANGER, PROXY])
def test_no_connection_line_can_remove_what_we_write(hop: ClientHop) -> None:
    hop = hop._replace(via="lb")
    ours = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Real-IP"]
    ours += ["X-Request-ID", "Via"]
    received = [
        ("Connection", ", ".join(ours) + ", host"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Request-ID", "theirs"),
    ]
    fields = forwarded(received, hop, "example.com").fields
    assert [name for name, _ in fields] == ours
    assert values(fields, "X-Request-ID") == ["theirs"]


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Expect", "HTTP2-Settings"])
def test_host_framing_and_expectations_are_decided_elsewhere(name: str) -> None:
    assert passed([(name, "1"), ("A", "2"), (name.lower(), "3")]) == [("A", "2")]


# Who sent it


FORWARDING = [
    *("Forwarded", "X-Forwarded", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Original-URL"),
    *(
        f"X-Forwarded-{what}"
        for what in ("For", "Proto", "Host", "Port", "Server", "Prefix", "SSL", "Scheme", "User", "Client-Cert", "X")
    ),
]


@pytest.mark.parametrize("name", FORWARDING)
def test_forwarding_fields_of_an_untrusted_peer_are_dropped(name: str) -> None:
    assert passed([(name, "10.0.0.1"), (name.lower(), "https"), (name.upper(), "1")]) == []


def test_a_stranger_is_forwarded_by_its_own_address() -> None:
    head = forwarded([("X-Forwarded-For", "10.1.1.1"), ("X-Forwarded-Host", "evil")], host="example.com:81")
    assert head.client == "203.0.113.9"
    assert head.fields == [
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "example.com:81"),
        ("X-Forwarded-Port", "81"),
        ("X-Real-IP", "203.0.113.9"),
        ("X-Request-ID", "made"),
    ]


def test_a_trusted_proxy_is_believed_and_added_to_the_chain() -> None:
    received = [
        ("x-forwarded-for", "192.0.2.7, 198.51.100.4"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "shop.example"),
        ("X-Forwarded-Port", "443"),
        ("Forwarded", "for=192.0.2.7"),
        ("X-Real-IP", "192.0.2.7"),
        ("X-Forwarded-For", "10.0.0.5"),
    ]
    head = forwarded(received, PROXY, "inner.example")
    assert values(head.fields, "X-Forwarded-For") == ["192.0.2.7, 198.51.100.4, 10.0.0.5, 10.0.0.1"]
    assert values(head.fields, "X-Forwarded-Proto") == ["https"]
    assert values(head.fields, "X-Forwarded-Host") == ["shop.example"]
    assert values(head.fields, "X-Forwarded-Port") == ["443"]
    assert values(head.fields, "Forwarded") == ["for=192.0.2.7"]
    assert values(head.fields, "X-Real-IP") == [
        "198.51.100.4"
    ]  # not that of the proxy, which any client could have sent
    assert head.client == "198.51.100.4"


def test_what_a_trusted_proxy_leaves_unsaid_is_said_for_it() -> None:
    head = forwarded([("X-Forwarded-Proto", ""), ("X-Forwarded-For", "192.0.2.7")], PROXY, "example.com")
    assert head.fields[:4] == [
        ("X-Forwarded-For", "192.0.2.7, 10.0.0.1"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "example.com"),
        ("X-Forwarded-Port", "80"),
    ]


@pytest.mark.parametrize(
    ("received", "address"),
    [
        ([], "10.0.0.1"),
        ([("X-Real-IP", "192.0.2.7")], "192.0.2.7"),
        ([("X-Real-IP", " [::ffff:192.0.2.7]:80 ")], "192.0.2.7"),
        ([("X-Real-IP", "192.0.2.7"), ("x-real-ip", "192.0.2.7")], "192.0.2.7"),
        ([("X-Real-IP", "192.0.2.7"), ("x-real-ip", "192.0.2.8")], "10.0.0.1"),
        ([("X-Real-IP", "192.0.2.7, 192.0.2.8")], "10.0.0.1"),
        ([("X-Real-IP", "localhost")], "10.0.0.1"),
        ([("X-Real-IP", "unknown")], "10.0.0.1"),
        ([("X-Real-IP", "192.0.2.7"), ("X-Forwarded-For", "192.0.2.8")], "192.0.2.8"),
        ([("X-Real-IP", "192.0.2.7"), ("Forwarded", "for=192.0.2.8, for=10.1.1.1")], "192.0.2.8"),
    ],
)
def test_the_real_ip_is_the_client_unless_a_proxy_states_no_chain(received: Fields, address: str) -> None:
    assert values(forwarded(received, PROXY).fields, "X-Real-IP") == [address]


def test_of_a_repeated_claim_the_first_holds() -> None:
    head = forwarded([("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")], PROXY)
    assert values(head.fields, "X-Forwarded-Proto") == ["https"]


#: Texts that are neither an address nor another identifier of RFC 7239 §6.
NO_NODES = [
    *("001.2.3.4", "1.2.3", "1.2.3.4;5", "0x1.2.3.4", "16909060", "1.2.3.4.5", "1.2.3.256", "1.2.3.4/8", "1.2.3.4%a"),
    *("1.2.3.4:x", "1.2.3.4:123456", "1.2.3.4:-1", "[1.2.3.4]", "[1.2.3.4]:80", "[::1", "[::1]80", "[::1]:x", "::1]"),
    *("[]", "[]:80", ":", "::1::", ":::", "1:2", "::g", "::1%", "::ffff:001.2.3.4", "::ffff:1.2.3", "localhost"),
    *("client.example", "host:80", "-", "_", "_a/b", "unknown;a", "unknowns", '"1.2.3.4', '""', "\xb2.2.3.4"),
]


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ([], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7, 198.51.100.4"], "198.51.100.4"),
        (["192.0.2.7, 10.0.0.9"], "192.0.2.7"),
        (["192.0.2.7", "10.0.0.9, 10.0.0.8"], "192.0.2.7"),
        (["10.0.0.8 ,\t10.0.0.9"], "10.0.0.8"),  # all ours: the first of us
        (["1.1.1.1, 192.0.2.7, ,10.0.0.9,"], "192.0.2.7"),
        (["1.1.1.1, fd00::7"], "1.1.1.1"),
        (["1.1.1.1, 2001:db8::7"], "2001:db8::7"),
        (["1.1.1.1, ::ffff:10.0.0.7"], "1.1.1.1"),
        (["1.1.1.1, unknown"], "unknown"),  # a word of RFC 7239 §6, and no proxy of ours
        (["1.1.1.1, 192.0.2.7:4711"], "192.0.2.7"),
        (['1.1.1.1, a "b" c, 10.0.0.9'], "10.0.0.9"),  # no word for a log
        (["1.1.1.1, \xe9"], "10.0.0.1"),
        (["x" * 129], "10.0.0.1"),
        (["_" + "x" * 128], "10.0.0.1"),
        *((["1.1.1.1, " + node + ", 10.0.0.9"], "10.0.0.9") for node in NO_NODES),
    ],
)
def test_the_client_is_the_first_stranger_from_right_to_left(chain: list[str], client: str) -> None:
    assert forwarded([("X-Forwarded-For", line) for line in chain], PROXY).client == client


@given(st.lists(st.text(st.characters(max_codepoint=0xFF), max_size=200), max_size=4))
def test_whatever_is_claimed_the_client_is_one_printable_word(chain: list[str]) -> None:
    client = forwarded([("X-Forwarded-For", line) for line in chain], PROXY).client
    assert client.isascii()
    assert client.isprintable()
    assert len(client.split()) == 1


# Forwarded (RFC 7239)


def test_a_forwarded_field_is_written_when_asked_for() -> None:
    head = forwarded([], STRANGER._replace(forwarded=True), "example.com")
    assert head.fields[-2:] == [("Forwarded", "for=203.0.113.9;host=example.com;proto=http"), WRITTEN[-1]]


def test_what_a_stranger_says_in_forwarded_is_replaced() -> None:
    head = forwarded([("Forwarded", "for=10.0.0.1")], STRANGER._replace(forwarded=True))
    assert values(head.fields, "Forwarded") == ["for=203.0.113.9;proto=http"]


@pytest.mark.parametrize(
    ("lines", "before"),
    [
        ([], ""),
        ([""], ""),
        (["for=192.0.2.7"], "for=192.0.2.7, "),
        (['for="[2001:db8::7]", for=192.0.2.7;proto=https', "", "For=10.0.0.5"],
         'for="[2001:db8::7]", for=192.0.2.7;proto=https, For=10.0.0.5, '),
    ],
)  # fmt: skip
def test_what_a_trusted_proxy_says_in_forwarded_stays_before_our_word(lines: list[str], before: str) -> None:
    head = forwarded([("Forwarded", line) for line in lines], PROXY._replace(forwarded=True), "a.example:81")
    assert values(head.fields, "Forwarded") == [f'{before}for=10.0.0.1;host="a.example:81";proto=http']


# What is read from the fields


@pytest.mark.parametrize(
    ("received", "upgrade"), [([], False), ([("Connection", "close")], False), ([("UPGRADE", "websocket")], True)]
)
def test_an_offer_of_another_protocol_is_noted(received: Fields, upgrade: bool) -> None:
    """RFC 9110 §7.8. The field itself is hop-by-hop."""
    assert forwarded(received).upgrade is upgrade


@pytest.mark.parametrize("kept", ["abc", "A-1_2:3", "x" * 128, "~!"])
def test_a_request_id_of_the_client_is_kept(kept: str) -> None:
    head = forwarded([("x-request-ID", kept)])
    assert head.request_id == kept
    assert values(head.fields, "X-Request-ID") == [kept]


@pytest.mark.parametrize("refused", ["", " ", "a b", "x" * 129, "\xe9", "a\tb", "\x7f"])
def test_a_request_id_unfit_for_logs_is_replaced(refused: str) -> None:
    head = forwarded([("X-Request-ID", refused)])
    assert head.request_id == "made"
    assert values(head.fields, "X-Request-ID") == ["made"]


def test_of_several_request_ids_one_goes_on() -> None:
    assert values(forwarded([("X-Request-ID", "a"), ("x-request-id", "b")]).fields, "X-Request-ID") == ["b"]


def test_via_names_us_after_those_before_us() -> None:
    received = [("Via", "1.0 first")]
    assert values(forwarded(received, STRANGER._replace(via="lb")).fields, "Via") == ["1.0 first", "1.1 lb"]
    assert values(client_response(received, "lb"), "Via") == ["1.0 first", "1.1 lb"]


def test_no_name_writes_no_via() -> None:
    assert values(forwarded([]).fields, "Via") == []
    assert client_response([], None) == []


# Properties

NAMES = st.sampled_from(
    [*HOP_BY_HOP, *FORWARDING, "Host", "Content-Length", "X-Request-ID", "Set-Cookie", "X-A", "x-b", "Cookie", "Close"]
)
LINES = st.lists(st.sampled_from(["x-a", "X-B", "close", "Host", "", "Keep-Alive", "x-forwarded-for", "cookie"]))
FIELDS = st.lists(
    st.tuples(NAMES, st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=8))
    | st.tuples(st.just("Connection"), LINES.map(",".join)),
    max_size=12,
)


@given(FIELDS)
def test_stripping_a_response_twice_changes_nothing_more(received: Fields) -> None:
    once = client_response(received, None)
    assert client_response(once, None) == once


@given(FIELDS, st.sampled_from(["", "example.com"]))
def test_stripping_a_strangers_request_twice_changes_nothing_more(received: Fields, host: str) -> None:
    once = forwarded(received, host=host)
    assert forwarded(once.fields, host=host) == once._replace(upgrade=False)  # the offer was taken out and noted


@given(FIELDS)
def test_what_passes_is_a_part_of_what_came_in_the_same_order(received: Fields) -> None:
    unjoined = [field for field in received if field[0] not in ("X-Request-ID", "Cookie")]
    for kept in (passed(unjoined), client_response(received, None)):
        rest = iter(received)
        assert all(field in rest for field in kept)


@given(FIELDS)
def test_nothing_hop_by_hop_and_nothing_nominated_survives(received: Fields) -> None:
    gone = HOP_BY_HOP | nominated(values(received, "Connection")) - {"close", "keep-alive"}
    for fields in (forwarded(received).fields[: -len(WRITTEN)], client_response(received, None)):
        assert not gone & {name.lower() for name, _ in fields}


@given(FIELDS)
def test_each_set_cookie_crosses(received: Fields) -> None:
    assert values(client_response(received, None), "Set-Cookie") == values(received, "Set-Cookie")


def test_of_a_strangers_fields_all_but_its_claims_are_credible() -> None:
    received = [("Accept", "x"), ("X-Forwarded-For", "192.0.2.7"), ("X-Real-IP", "192.0.2.7"), ("Connection", "close")]
    assert credible_fields(received, STRANGER) == [received[0], received[3]]
    assert credible_fields(received, STRANGER._replace(rules=RequestRules(frozenset({"x-real-ip"})))) == [
        received[0],
        *received[2:],
    ]
    assert credible_fields(received, PROXY) == received


def test_only_a_trusted_proxy_states_where_a_request_comes_from() -> None:
    received = [("X-Forwarded-For", "192.0.2.7"), ("Accept", "x")]
    assert request_origin(received, PROXY, "a", OURS).client == "192.0.2.7"
    stranger = request_origin(received, STRANGER, "a:8080", OURS)
    assert (stranger.client, stranger.host, stranger.port, stranger.path) == ("203.0.113.9", "a:8080", "8080", ())


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("X-Real-IP", "::ffff:192.0.2.7", "192.0.2.7"),
        ("X-Original-Host", "::ffff:192.0.2.7", "::ffff:192.0.2.7"),
        ("Forwarded", 'for="[::ffff:192.0.2.7]"', "for=192.0.2.7"),
    ],
)
def test_mapped_addresses_of_a_trusted_proxy_are_written_plainly(name: str, value: str, written: str) -> None:
    assert values(forwarded([(name, value)], PROXY).fields, name) == [written]


def test_a_response_without_content_has_no_length() -> None:
    """RFC 9110 §8.6."""
    assert bodiless_response([("Content-Length", "5"), ("A", "b"), ("TE", "x")], "us") == [
        ("A", "b"),
        ("Via", "1.1 us"),
    ]


test_any_head_is_forwarded_without_fields_of_this_hop = property_test("fields")


def test_rules_may_let_more_claims_of_strangers_pass() -> None:
    rules = RequestRules(frozenset({"x-forwarded-user"})).keeping(frozenset({"x-forwarded-email"}))
    hop = STRANGER._replace(rules=rules)
    given = [("X-Forwarded-User", "a"), ("X-Forwarded-Email", "b"), ("X-Forwarded-Groups", "c")]
    assert credible_fields(given, hop) == given[:2]
