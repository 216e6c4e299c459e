"""What of a request reaches the backend, byte for byte, and what is refused instead."""

from __future__ import annotations

import pytest

from devtools.parsers import PARSERS
from devtools.raw_client import RawClient
from tests.conformance.cases import Forwarded, Refused, ask, chunked, post
from tests.conformance.servers import Rig

#: gunicorn's parser in Python accepts any length. lbflask refuses the request, but a stock worker then waits for the
#: body, not for the next request.
_REFUSED_BY_PARSER = "fast" in PARSERS

METHODS = [
    Forwarded("PURGE is a method", "RFC 9110 §9.1", ask(method=b"PURGE")),
    Forwarded("a method may have a hyphen", "RFC 9110 §9.1", ask(method=b"M-SEARCH")),
    Forwarded("a method is any token", "RFC 9110 §5.6.2, §9.1", ask(method=b"x!#$")),
    Forwarded("a method keeps its case", "RFC 9110 §9.1", ask(method=b"get")),
    Forwarded("OPTIONS may be for the server", "RFC 9112 §3.2.4", ask(method=b"OPTIONS", target=b"*")),
    Forwarded("DELETE may have a body", "RFC 9110 §9.3.5", post(b"gone").replace(b"POST", b"DELETE"), body=b"gone"),
    Forwarded("GET may have a body", "RFC 9110 §9.3.1", post(b"query").replace(b"POST", b"GET"), body=b"query"),
    Forwarded("TRACE is passed on", "RFC 9110 §9.3.8", ask(method=b"TRACE")),
]

TARGETS = [
    Forwarded(f"the target {target.decode()}", "G16, R19, RFC 9112 §3.2.1", ask(target=target))
    for target in (
        b"/a%2Fb%2fc",
        b"//a//b/",
        b"/a/../b",
        b"/a/./b/.",
        b"/a;v=1/b;w",
        b"/a?",
        b"/%zz",
        b"/%",
        b'/"<>\\^`{|}',
        b"/a?b=c?d&&=/?",
        b"/%00",
        b"/%C3%A9%e9",
        b"/?q=%20+%2B",
        b"/~user/%7Euser",
        b"/:80/@a",
        b"/a?url=http://b/c",
    )
] + [
    Forwarded(
        "an absolute target is cut to its path, and names the host",
        "G16, RFC 9112 §3.2.2",
        ask(target=b"http://b:81/a%2Fb?c").replace(b"Host: a", b"Host: ignored"),
        line=b"GET /a%2Fb?c HTTP/1.1",
        has=(b"Host: b:81",),
    ),
    Forwarded(
        "an absolute target without a path has the root",
        "RFC 9112 §3.2.1",
        ask(target=b"http://b"),
        line=b"GET / HTTP/1.1",
        has=(b"Host: b",),
    ),
    Forwarded(
        "an absolute target may go on with its query",
        "RFC 9112 §3.2.1",
        ask(target=b"http://b?c=d"),
        line=b"GET /?c=d HTTP/1.1",
        has=(b"Host: b",),
    ),
    Forwarded(
        "an absolute target's authority is the forwarded host",
        "RFC 9112 §3.2.2",
        ask(target=b"http://b/"),
        line=b"GET / HTTP/1.1",
        has=(b"X-Forwarded-Host: b",),
    ),
    Forwarded(
        "OPTIONS of an absolute target without a path is for the server",
        "RFC 9112 §3.2.4",
        ask(method=b"OPTIONS", target=b"http://b"),
        line=b"OPTIONS * HTTP/1.1",
        has=(b"Host: b",),
    ),
    Forwarded("a target of 8000 bytes", "G24, RFC 9112 §3", ask(target=b"/" + b"a" * 8000)),
]

FIELDS = [
    Forwarded(
        "repeated fields keep order and case",
        "G15, R5, RFC 9110 §5.3",
        ask(b"X-b: 2", b"x-A: 1", b"X-b: 1", b"X-B: 2"),
        has=(b"X-b: 2", b"x-A: 1", b"X-b: 1", b"X-B: 2"),
        stock=False,
    ),
    Forwarded(
        "Cookie lines become one",
        "G15, RFC 6265 §5.4",
        ask(b"Cookie: a=1", b"X-A: b", b"Cookie: b=2; c=3"),
        has=(b"Cookie: a=1; b=2; c=3",),
        stock=False,
    ),
    Forwarded(
        "values are bytes",
        "R22, RFC 9110 §5.5",
        ask(b"X-A: caf\xe9 \xc3\xa9 \xff"),
        has=(b"X-A: caf\xe9 \xc3\xa9 \xff",),
    ),
    Forwarded("a value may be empty", "RFC 9110 §5.5", ask(b"X-A:", b"X-B: b"), has=(b"X-A: ", b"X-B: b")),
    Forwarded("blanks around a value are not of it", "RFC 9112 §5", ask(b"X-A: \t b c\t "), has=(b"X-A: b c",)),
    Forwarded(
        "a value of 8000 bytes", "G24, RFC 9110 §5.4", ask(b"X-A: " + b"v" * 8000), has=(b"X-A: " + b"v" * 8000,)
    ),
    Forwarded(
        "ninety-nine fields",
        "G24, RFC 9110 §5.4",
        ask(*[b"X-A: %d" % n for n in range(98)]),
        has=tuple(b"X-A: %d" % n for n in range(98)),
        stock=False,
    ),
    Forwarded("a name is any token", "RFC 9110 §5.1", ask(b"!#$%&'*+-.^`|~0aZ: b"), has=(b"!#$%&'*+-.^`|~0aZ: b",)),
    Forwarded(
        "names with an underscore are dropped",
        "G15, G23",
        ask(b"X_Forwarded_For: 1.2.3.4", b"Content_Length: 5", b"X-A: b"),
        has=(b"X-A: b",),
        lacks=(b"x_forwarded_for", b"content_length", b"content-length"),
    ),
    Forwarded(
        "no field of a client library is added",
        "R9",
        ask(),
        lacks=(
            b"user-agent",
            b"accept",
            b"accept-encoding",
            b"connection",
            b"content-type",
            b"cookie",
            b"content-length",
        ),
    ),
    Forwarded(
        "credentials are the client's own",
        "R8, RFC 9110 §11.6.2",
        ask(b"Authorization: Basic dTpw"),
        has=(b"Authorization: Basic dTpw",),
    ),
    Forwarded(
        "what the client accepts is left alone",
        "R9, R10, RFC 9110 §12.5.3",
        ask(b"Accept-Encoding: br;q=1.0, gzip", b"Accept: */*"),
        has=(b"Accept-Encoding: br;q=1.0, gzip", b"Accept: */*"),
    ),
    Forwarded(
        "conditions and ranges are left alone",
        "RFC 9110 §13.1, §14.2",
        ask(b'If-None-Match: "a", W/"b"', b"Range: bytes=0-1,-5"),
        has=(b'If-None-Match: "a", W/"b"', b"Range: bytes=0-1,-5"),
    ),
    Forwarded(
        "a trace keeps its context",
        "Trace Context §3",
        ask(b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", b"tracestate: a=1,b=2"),
        has=(b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", b"tracestate: a=1,b=2"),
    ),
]

HOP_BY_HOP = [
    Forwarded(
        "hop-by-hop fields end here",
        "G10, RFC 9110 §7.6.1",
        ask(
            b"Connection: keep-alive",
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive",
            b"Proxy-Authorization: Basic dTpw",
            b"Proxy-Authenticate: Basic",
            b"TE: gzip",
            b"X-A: b",
        ),
        has=(b"X-A: b",),
        lacks=(b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"proxy-authenticate", b"te"),
    ),
    Forwarded(
        "what Connection names ends here",
        "RFC 9110 §7.6.1",
        ask(b"Connection: x-One , X-TWO", b"X-One: 1", b"x-two: 2", b"X-Three: 3"),
        has=(b"X-Three: 3",),
        lacks=(b"connection", b"x-one", b"x-two"),
    ),
    Forwarded(
        "all Connection lines count, empty elements do not",
        "RFC 9110 §5.6.1, §7.6.1",
        ask(b"Connection: , ,X-One,,", b"X-One: 1", b"Connection: ", b"Connection:\tX-Two", b"X-Two: 2", b"X-A: b"),
        has=(b"X-A: b",),
        lacks=(b"connection", b"x-one", b"x-two"),
    ),
    Forwarded(
        "a field that is named before it comes ends here too",
        "RFC 9110 §7.6.1",
        ask(b"X-One: 1", b"Connection: close, x-one"),
        lacks=(b"x-one", b"connection"),
    ),
    Forwarded(
        "Connection can name Cookie",
        "RFC 9110 §7.6.1",
        ask(b"Connection: Cookie", b"Cookie: a=1"),
        lacks=(b"cookie", b"connection"),
    ),
    Forwarded(
        "Connection cannot name what we say",
        "RFC 9110 §7.6.1",
        ask(b"Connection: X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port"),
        has=(b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Proto: http", b"X-Forwarded-Host: a"),
        lacks=(b"connection",),
    ),
    Forwarded(
        "Connection cannot name Via or the request's name",
        "RFC 9110 §7.6.1",
        ask(b"Connection: Via, X-Request-ID", b"X-Request-ID: mine-1"),
        has=(b"X-Request-ID: mine-1", b"Via: 1.1 lbflask"),
    ),
    Forwarded(
        "Connection cannot name Host or the length",
        "RFC 9110 §7.6.1",
        post(b"hello", b"Connection: Host, Content-Length"),
        has=(b"Host: a", b"Content-Length: 5"),
        body=b"hello",
    ),
    Forwarded(
        "Connection cannot name the chunks away",
        "RFC 9110 §7.6.1, RFC 9112 §6.1",
        chunked(b"hello", fields=(b"Connection: Transfer-Encoding",)),
        has=(b"Transfer-Encoding: chunked",),
        lacks=(b"content-length",),
        body=b"5\r\nhello\r\n0\r\n\r\n",
    ),
    Forwarded(
        "trailers are asked for on the client's behalf",
        "R26, RFC 9110 §10.1.4",
        ask(b"TE: trailers", b"Connection: TE"),
        has=(b"TE: trailers", b"Connection: TE"),
    ),
    Forwarded(
        "of TE only the trailers are left",
        "RFC 9110 §10.1.4",
        ask(b"TE: gzip;q=0.5, trailers", b"Connection: TE"),
        has=(b"TE: trailers",),
    ),
    Forwarded(
        "TE of other codings ends here",
        "RFC 9110 §10.1.4",
        ask(b"TE: deflate", b"Connection: te"),
        lacks=(b"te", b"connection"),
    ),
]

FORWARDING = [
    Forwarded(
        "we say who asked, how, and for what",
        "RFC 7239 §5",
        ask(),
        has=(b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Proto: http", b"X-Forwarded-Host: a"),
    ),
    Forwarded(
        "a stranger's word on others is dropped",
        "G23, RFC 7239 §8.1",
        ask(
            b"X-Forwarded-For: 1.2.3.4",
            b"x-forwarded-for: 5.6.7.8",
            b"X-Forwarded-Proto: https",
            b"X-Forwarded-Host: evil",
            b"X-Forwarded-Ssl: on",
            b"X-Forwarded-Prefix: /evil",
            b"X-Real-IP: 1.2.3.4",
        ),
        has=(
            b"X-Forwarded-For: 127.0.0.1",
            b"X-Forwarded-Proto: http",
            b"X-Forwarded-Host: a",
            b"X-Real-IP: 127.0.0.1",
        ),
        lacks=(b"x-forwarded-ssl", b"x-forwarded-prefix"),
    ),
    Forwarded(
        "a stranger's Forwarded is dropped",
        "RFC 7239 §8.1",
        ask(b"Forwarded: for=1.2.3.4;proto=https", b"Forwarded: for=5.6.7.8"),
        lacks=(b"forwarded",),
    ),
    Forwarded(
        "Via comes after those that are there",
        "RFC 9110 §7.6.3",
        ask(b"Via: 1.0 fred", b"Via: 1.1 p.example (Apache)"),
        has=(b"Via: 1.0 fred", b"Via: 1.1 p.example (Apache)", b"Via: 1.1 lbflask"),
        stock=False,
    ),
    Forwarded(
        "Via names the version that was received",
        "RFC 9110 §7.6.3",
        ask(version=b"1.0"),
        line=b"GET / HTTP/1.1",
        has=(b"Via: 1.0 lbflask",),
    ),
    Forwarded(
        "a request keeps its name",
        "G15",
        ask(b"X-Request-ID: 0af7651916cd43dd-a_b.c:1"),
        has=(b"X-Request-ID: 0af7651916cd43dd-a_b.c:1",),
    ),
    Forwarded("Host stays the client's", "R20, RFC 9110 §7.2", ask(), has=(b"Host: a",)),
    Forwarded(
        "Host keeps its port and case",
        "R20, RFC 9110 §7.2",
        ask().replace(b"Host: a", b"Host: ExAmple.org:8080"),
        has=(b"Host: ExAmple.org:8080",),
    ),
    Forwarded(
        "Host may be an IPv6 address",
        "RFC 3986 §3.2.2",
        ask().replace(b"Host: a", b"Host: [::1]:8080"),
        has=(b"Host: [::1]:8080",),
    ),
    Forwarded(
        "Host is the first field",
        "RFC 9110 §7.2",
        b"GET / HTTP/1.1\r\nX-A: b\r\nHost: a\r\n\r\n",
        has=(b"Host: a", b"X-A: b"),
    ),
    Forwarded(
        "an empty line before the request is passed over",
        "RFC 9112 §2.2",
        b"\r\n" + ask(target=b"/after"),
        line=b"GET /after HTTP/1.1",
    ),
    Forwarded(
        "the backend is spoken to in 1.1",
        "RFC 9110 §2.5",
        ask(version=b"1.0"),
        line=b"GET / HTTP/1.1",
        lacks=(b"connection",),
    ),
]

MAX_FORWARDS = [
    Forwarded(
        f"Max-Forwards of {method.decode()} is counted down",
        "RFC 9110 §7.6.2",
        ask(b"Max-Forwards: 10", method=method),
        has=(b"Max-Forwards: 9",),
    )
    for method in (b"OPTIONS", b"TRACE")
] + [
    Forwarded(
        "Max-Forwards of GET means nothing", "RFC 9110 §7.6.2", ask(b"Max-Forwards: 0"), has=(b"Max-Forwards: 0",)
    ),
    Forwarded(
        "one hop is left for the backend",
        "RFC 9110 §7.6.2",
        ask(b"Max-Forwards: 1", method=b"OPTIONS", target=b"*"),
        has=(b"Max-Forwards: 0",),
    ),
]

BODIES = [
    Forwarded(
        "a body of known length keeps it",
        "R4, RFC 9112 §6.2",
        post(bytes(range(256)) * 16),
        has=(b"Content-Length: 4096",),
        lacks=(b"transfer-encoding",),
        body=bytes(range(256)) * 16,
    ),
    Forwarded(
        "a length of no bytes is told",
        "R4, RFC 9110 §8.6",
        post(b""),
        has=(b"Content-Length: 0",),
        lacks=(b"transfer-encoding",),
    ),
    Forwarded(
        "a POST without a length is none of our making",
        "RFC 9110 §8.6",
        ask(method=b"POST"),
        lacks=(b"transfer-encoding",),
    ),
    Forwarded(
        "chunks stay chunks",
        "R4, RFC 9112 §7.1",
        chunked(b"hello"),
        has=(b"Transfer-Encoding: chunked",),
        lacks=(b"content-length",),
        body=b"5\r\nhello\r\n0\r\n\r\n",
    ),
    Forwarded(
        "a chunked body of nothing",
        "RFC 9112 §7.1",
        chunked(),
        has=(b"Transfer-Encoding: chunked",),
        lacks=(b"content-length",),
        body=b"0\r\n\r\n",
    ),
    Forwarded(
        "extensions of chunks end here",
        "RFC 9112 §7.1.1",
        chunked().replace(b"0\r\n\r\n", b"5;a=b;c\r\nhello\r\n0;last\r\n\r\n"),
        body=b"5\r\nhello\r\n0\r\n\r\n",
    ),
    Forwarded(
        "sizes of chunks may be written at length",
        "RFC 9112 §7.1",
        chunked().replace(b"0\r\n\r\n", b"0000000A\r\nhellohello\r\n000\r\n\r\n"),
        body=b"hellohello\r\n0\r\n\r\n",
    ),
    Forwarded(
        "the case of chunked does not matter",
        "RFC 9112 §7",
        chunked(b"hello").replace(b": chunked", b": Chunked"),
        has=(b"Transfer-Encoding: chunked",),
        body=b"5\r\nhello\r\n0\r\n\r\n",
    ),
    Forwarded(
        "a form is left alone",
        "RFC 9110 §8.3",
        post(b"a=%2F&b=+", b"Content-Type: application/x-www-form-urlencoded; charset=utf-8"),
        has=(b"Content-Type: application/x-www-form-urlencoded; charset=utf-8",),
        body=b"a=%2F&b=+",
    ),
    Forwarded(
        "a coded body is left alone",
        "R10, RFC 9110 §8.4",
        post(b"\x1f\x8b\x08junk", b"Content-Encoding: gzip"),
        has=(b"Content-Encoding: gzip", b"Content-Length: 7"),
        body=b"\x1f\x8b\x08junk",
    ),
    Forwarded(
        "trailers of a request are forwarded",
        "G14, R26, RFC 9110 §6.5",
        chunked(b"hello", trailers=(b"X-Checksum: 1", b"X-Other: 2"), fields=(b"Trailer: X-Checksum",)),
        body=b"5\r\nhello\r\n0\r\nX-Checksum: 1\r\nX-Other: 2\r\n\r\n",
        stock=False,
    ),
    Forwarded(
        "trailers that belong into a head are not forwarded",
        "G14, RFC 9110 §6.5.1",
        chunked(b"hello", trailers=(b"Cookie: a=1", b"Via: 1.1 b", b"X-Forwarded-For: 1.2.3.4", b"X-A: b")),
        body=b"5\r\nhello\r\n0\r\nX-A: b\r\n\r\n",
        stock=False,
    ),
]

REFUSED = [
    Refused("CONNECT is not supported", "RFC 9110 §9.3.6", ask(method=b"CONNECT", target=b"a:443"), (501,)),
    Refused("a fragment is no part of a target", "RFC 9112 §3.2", ask(target=b"/a#b")),
    Refused("a fragment of an absolute target", "RFC 9112 §3.2.2", ask(target=b"http://a/b#c")),
    Refused("the asterisk is for OPTIONS", "RFC 9112 §3.2.4", ask(target=b"*")),
    Refused("a target of no form", "RFC 9112 §3.2", ask(target=b"index.html")),
    Refused("an authority is for CONNECT", "RFC 9112 §3.2.3", ask(target=b"a:80")),
    Refused("a target with a blank in it", "RFC 9112 §3.2", ask(target=b"/a b")),
    Refused("a target with bytes beyond ASCII", "G16, RFC 9112 §3.2", ask(target=b"/caf\xe9")),
    Refused("a target with a control sign", "RFC 9112 §3.2", ask(target=b"/a\x01")),
    Refused("an absolute target with user-info", "RFC 9110 §4.2.4", ask(target=b"http://u:p@a/")),
    Refused("an absolute target without a host", "RFC 9110 §4.2.1", ask(target=b"http:///a")),
    Refused("no Host in 1.1", "RFC 9112 §3.2", b"GET / HTTP/1.1\r\n\r\n"),
    Refused("two Hosts", "RFC 9112 §3.2", ask(b"Host: b")),
    Refused("two equal Hosts", "RFC 9112 §3.2", ask(b"host: a")),
    Refused("a Host with user-info", "RFC 9110 §7.2", ask().replace(b"Host: a", b"Host: u@a")),
    Refused("a Host with a blank", "RFC 9110 §7.2", ask().replace(b"Host: a", b"Host: a b")),
    Refused("a Host with a path", "RFC 9110 §7.2", ask().replace(b"Host: a", b"Host: a/b")),
    Refused("a list of Hosts", "RFC 9112 §3.2", ask().replace(b"Host: a", b"Host: a, b")),
    Refused("a Host with a port that is no number", "RFC 3986 §3.2.3", ask().replace(b"Host: a", b"Host: a:b")),
    Refused("a method that is no token", "RFC 9110 §9.1", ask(method=b"G(T")),
    Refused("a version of two digits", "RFC 9112 §2.3", ask(version=b"1.10")),
    Refused("a version of the future", "RFC 9110 §2.5", ask(version=b"2.0"), (400, 505)),
    Refused("a request of before HTTP/1.0", "RFC 9112 §2.3", b"GET /\r\n\r\n"),
    Refused("the preface of HTTP/2", "RFC 9113 §3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    Refused(
        "a greeting in TLS", "RFC 9112 §2.2", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 20 + b"\r\n\r\n"
    ),
    Refused(
        "a length beyond 63 bits",
        "RFC 9110 §8.6",
        ask(b"Content-Length: 9223372036854775808", method=b"POST"),
        stock=_REFUSED_BY_PARSER,
    ),
    Refused(
        "a length beyond 64 bits",
        "RFC 9110 §8.6",
        ask(b"Content-Length: 18446744073709551621", method=b"POST"),
        stock=False,  # gunicorn's workers keep the connection, and wait for the body
    ),
    Refused("a length of many digits", "RFC 9110 §8.6", ask(b"Content-Length: " + b"9" * 5000, method=b"POST")),
    Refused("a length of digits that are not ASCII", "RFC 9110 §8.6", ask(b"Content-Length: \xb2", method=b"POST")),
    Refused("an expectation that nobody knows", "RFC 9110 §10.1.1", ask(b"Expect: miracles"), (417,)),
    Refused("Max-Forwards that is no number", "RFC 9110 §7.6.2", ask(b"Max-Forwards: x", method=b"OPTIONS")),
    Refused("Max-Forwards below nought", "RFC 9110 §7.6.2", ask(b"Max-Forwards: -1", method=b"TRACE")),
    Refused(
        "OPTIONS that may go no further", "RFC 9110 §7.6.2", ask(b"Max-Forwards: 0", method=b"OPTIONS"), (200, 204)
    ),
    Refused(
        "TRACE that may go no further", "RFC 9110 §7.6.2, §9.3.8", ask(b"Max-Forwards: 0", method=b"TRACE"), (200,)
    ),
    Refused("a request line beyond the limit", "G24, RFC 9112 §3", ask(target=b"/" + b"a" * 9000), (414,)),
    Refused("fields beyond the limit", "G24, RFC 6585 §5", ask(*[b"X-A: b"] * 101), (431,)),
    Refused("a field beyond the limit", "G24, RFC 6585 §5", ask(b"X-A: " + b"b" * 9000), (431,)),
    Refused(
        "a length beyond the limit, before it is read",
        "G18, RFC 9110 §15.5.14",
        ask(b"Content-Length: 200001", method=b"POST"),
        (413,),
        stock=False,
    ),
    Refused(
        "a length of more digits than there are bytes",
        "RFC 9112 §6.3",
        ask(b"Content-Length: " + b"9" * 40),
        (400, 413),
        stock=_REFUSED_BY_PARSER,
    ),
]


@pytest.mark.parametrize("case", METHODS, ids=lambda case: case.name)
def test_any_method_is_forwarded(case: Forwarded, rig: Rig, client: RawClient) -> None:
    case.hold(rig, client)


@pytest.mark.parametrize("case", TARGETS, ids=lambda case: case.name[:40])
def test_the_target_is_forwarded_byte_for_byte(case: Forwarded, rig: Rig, client: RawClient) -> None:
    case.hold(rig, client)


@pytest.mark.parametrize("case", FIELDS, ids=lambda case: case.name)
def test_fields_are_forwarded_as_they_came(case: Forwarded, rig: Rig, client: RawClient) -> None:
    case.hold(rig, client)


@pytest.mark.parametrize("case", HOP_BY_HOP, ids=lambda case: case.name)
def test_fields_of_one_hop_end_here(case: Forwarded, rig: Rig, client: RawClient) -> None:
    case.hold(rig, client)


@pytest.mark.parametrize("case", FORWARDING, ids=lambda case: case.name)
def test_the_backend_gets_the_address_of_the_client(case: Forwarded, rig: Rig, client: RawClient) -> None:
    case.hold(rig, client)


@pytest.mark.parametrize("case", MAX_FORWARDS, ids=lambda case: case.name)
def test_hops_are_counted_where_they_are_to_be(case: Forwarded, rig: Rig, client: RawClient) -> None:
    case.hold(rig, client)


@pytest.mark.parametrize("case", BODIES, ids=lambda case: case.name)
def test_a_body_arrives_whole_in_one_framing(case: Forwarded, rig: Rig, client: RawClient) -> None:
    case.hold(rig, client)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_must_not_be_forwarded_is_refused(case: Refused, rig: Rig, client: RawClient) -> None:
    case.hold(rig, client)
