"""What of a backend's response reaches the client, and what is no response at all."""

from __future__ import annotations

import gzip
from threading import Event

import pytest

from devtools.raw_client import RawClient
from devtools.scripted_backend import Peer
from tests.conformance.cases import (
    NEXT,
    Answered,
    Junk,
    ask,
    assert_told_in_json,
    chunks,
    reply,
    sized,
)
from tests.conformance.servers import Rig
from tests.support.programmed import ProgrammedBackend, Received, says, says_and_closes

DATE = b"Date: Tue, 15 Nov 1994 08:12:31 GMT"
PACKED = gzip.compress(b"hello" * 100, mtime=0)
CHUNKED = b"Transfer-Encoding: chunked"
OLD = ask(version=b"1.0")

FIELDS = [
    Answered(
        "every Set-Cookie stays a line",
        "R5, RFC 6265 §3",
        sized(b"", b"Set-Cookie: a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", b"X-A: b", b"Set-Cookie: b=2"),
        has=(b"Set-Cookie: a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", b"X-A: b", b"Set-Cookie: b=2"),
    ),
    Answered(
        "Date and Server are the backend's",
        "G10, RFC 9110 §6.6.1, §10.2.4",
        sized(b"", b"Server: backend/1", DATE),
        has=(b"Server: backend/1", DATE),
        stock=False,
    ),
    Answered(
        "no Server is made up", "RFC 9110 §10.2.4", sized(b"", DATE), has=(DATE,), lacks=(b"server",), stock=False
    ),
    Answered("no Content-Type is made up", "RFC 9110 §8.3", sized(b"hi"), body=b"hi", lacks=(b"content-type",)),
    Answered(
        "fields keep order, case and repeats",
        "R5, RFC 9110 §5.3",
        sized(b"", b"x-B: 2", b"X-a: 1", b"X-B: 1", b"x-b: 2"),
        has=(b"x-B: 2", b"X-a: 1", b"X-B: 1", b"x-b: 2"),
    ),
    Answered("values are bytes", "R22, RFC 9110 §5.5", sized(b"", b"X-A: caf\xe9 \xff"), has=(b"X-A: caf\xe9 \xff",)),
    Answered("a value may be empty", "RFC 9110 §5.5", sized(b"", b"X-A:"), has=(b"X-A: ",)),
    Answered(
        "a value of 20000 bytes",
        "R21, RFC 9110 §5.4",
        sized(b"", b"X-A: " + b"v" * 20_000),
        has=(b"X-A: " + b"v" * 20_000,),
    ),
    Answered(
        "three hundred fields",
        "R21, RFC 9110 §5.4",
        sized(b"", *[b"X-A: %d" % n for n in range(300)]),
        has=tuple(b"X-A: %d" % n for n in range(300)),
    ),
    Answered(
        "Via comes after those that are there",
        "RFC 9110 §7.6.3",
        sized(b"", b"Via: 1.0 inner"),
        has=(b"Via: 1.0 inner", b"Via: 1.1 lbflask"),
    ),
    Answered(
        "hop-by-hop fields end here",
        "G10, RFC 9110 §7.6.1",
        sized(
            b"",
            b"Connection: keep-alive, X-One",
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive",
            b"X-One: 1",
            b"X-Two: 2",
            b"Upgrade: h2c",
        ),
        has=(b"X-Two: 2",),
        lacks=(b"keep-alive", b"proxy-connection", b"x-one", b"upgrade"),
    ),
    Answered(
        "all Connection lines of the backend count",
        "RFC 9110 §7.6.1",
        sized(b"", b"Connection: x-one,,", b"X-One: 1", b"connection: X-TWO", b"X-Two: 2", b"X-A: b"),
        has=(b"X-A: b",),
        lacks=(b"x-one", b"x-two"),
    ),
    Answered(
        "Connection of the backend cannot name the length",
        "RFC 9110 §7.6.1",
        sized(b"hello", b"Connection: Content-Length, Date", DATE),
        has=(b"Content-Length: 5",),
        body=b"hello",
    ),
    Answered(
        "a reason is passed on",
        "RFC 9112 §4",
        sized(b"", status=b"200 Everything is fine"),
        line=b"HTTP/1.1 200 Everything is fine",
    ),
    Answered("an empty reason becomes the usual one", "RFC 9112 §4", sized(b"", status=b"200 ")),
    *[
        Answered(
            f"the usual reason of {code} is the RFC's on every Python",
            "RFC 9110 §15",
            sized(b"", status=b"%d " % code),
            line=b"HTTP/1.1 %d %b" % (code, reason),
        )
        for code, reason in (
            (413, b"Content Too Large"),
            (414, b"URI Too Long"),
            (416, b"Range Not Satisfiable"),
            (422, b"Unprocessable Content"),
            (599, b""),
        )
    ],
    Answered(
        "a status that nobody knows is passed on",
        "RFC 9110 §15",
        sized(b"", status=b"299 Odd"),
        line=b"HTTP/1.1 299 Odd",
    ),
    Answered(
        "a status beyond the classes is passed on",
        "RFC 9110 §15",
        sized(b"", status=b"999 Odd"),
        line=b"HTTP/1.1 999 Odd",
    ),
    Answered(
        "a redirect is passed on, body and all",
        "R1, RFC 9110 §15.4",
        sized(b"there", b"Location: //else/where?a=%2f#b", status=b"302 Found"),
        line=b"HTTP/1.1 302 Found",
        has=(b"Content-Length: 5", b"Location: //else/where?a=%2f#b"),
        body=b"there",
    ),
    Answered(
        "a redirect with a body that lies about its coding",
        "R1, R10, RFC 9110 §15.4",
        sized(b"junk", b"Location: /caf\xe9", b"Content-Encoding: gzip", status=b"301 Moved"),
        line=b"HTTP/1.1 301 Moved",
        has=(b"Location: /caf\xe9", b"Content-Encoding: gzip"),
        body=b"junk",
    ),
    Answered(
        "a challenge is passed on",
        "RFC 9110 §11.6.1",
        sized(b"", b'WWW-Authenticate: Basic realm="a"', b"WWW-Authenticate: Bearer", status=b"401 Who"),
        line=b"HTTP/1.1 401 Who",
        has=(b'WWW-Authenticate: Basic realm="a"', b"WWW-Authenticate: Bearer"),
    ),
    Answered(
        "an error of the backend's is its own",
        "RFC 9110 §15.6",
        sized(b"broken", b"Content-Type: text/x", b"Retry-After: 7", status=b"503 Service Unavailable"),
        line=b"HTTP/1.1 503 Service Unavailable",
        has=(b"Content-Type: text/x", b"Retry-After: 7"),
        body=b"broken",
    ),
]

FRAMING = [
    Answered("a body of known length", "RFC 9112 §6.2", sized(b"hello"), has=(b"Content-Length: 5",), body=b"hello"),
    Answered(
        "a coded body is left alone",
        "R10, RFC 9110 §8.4",
        sized(PACKED, b"Content-Encoding: gzip", b'ETag: "a"'),
        has=(b"Content-Length: %d" % len(PACKED), b"Content-Encoding: gzip", b'ETag: "a"'),
        body=PACKED,
    ),
    Answered(
        "chunks stay chunks",
        "RFC 9112 §7.1",
        reply(CHUNKED, body=chunks(b"hel", b"lo")),
        has=(CHUNKED,),
        lacks=(b"content-length",),
        body=b"hello",
    ),
    Answered(
        "extensions of chunks end here",
        "RFC 9112 §7.1.1",
        reply(CHUNKED, body=b'5;a="b"\r\nhello\r\n0;z\r\n\r\n'),
        body=b"hello",
    ),
    Answered("chunks of nothing", "RFC 9112 §7.1", reply(CHUNKED, body=chunks()), has=(CHUNKED,)),
    Answered(
        "a body until the close becomes chunks",
        "R11, RFC 9112 §6.3",
        reply(body=b"hello"),
        has=(CHUNKED,),
        body=b"hello",
        closing=True,
    ),
    Answered(
        "a backend of HTTP/1.0 is understood",
        "RFC 9112 §6.3",
        b"HTTP/1.0 200 OK\r\nX-A: b\r\n\r\nhello",
        has=(b"X-A: b", CHUNKED),
        body=b"hello",
        closing=True,
    ),
    Answered(
        "HTTP/1.0 clients get no chunks",
        "RFC 9112 §6.1",
        reply(CHUNKED, body=chunks(b"hel", b"lo")),
        lacks=(b"transfer-encoding", b"content-length"),
        body=b"hello",
        request=OLD,
    ),
    Answered(
        "HTTP/1.0 clients get a length that is known",
        "RFC 9112 §6.2",
        sized(b"hello"),
        has=(b"Content-Length: 5", b"Connection: close"),
        body=b"hello",
        request=OLD,
    ),
    Answered(
        "HEAD keeps the length and has no body",
        "R25, RFC 9110 §9.3.2",
        reply(b"Content-Length: 1234"),
        has=(b"Content-Length: 1234",),
        request=ask(method=b"HEAD"),
    ),
    Answered(
        "HEAD of chunks has no body",
        "R25, RFC 9112 §6.1",
        reply(CHUNKED),
        lacks=(b"content-length",),
        request=ask(method=b"HEAD"),
    ),
    Answered(
        "204 has neither body nor framing",
        "R25, RFC 9110 §15.3.5",
        reply(status=b"204 No Content"),
        line=b"HTTP/1.1 204 No Content",
        lacks=(b"content-length", b"transfer-encoding"),
    ),
    *[
        Answered(
            f"204 with {field.decode()}",
            "RFC 9110 §8.6, RFC 9112 §6.1",
            reply(field, b"X-A: b", *more, status=b"204 No Content"),
            line=b"HTTP/1.1 204 No Content",
            has=(b"X-A: b",),
            lacks=(b"content-length", b"transfer-encoding"),
        )
        for field in (b"Content-Length: 5", b"Content-Length: 0", CHUNKED)
        for more in ((), (b"X-Empty:",))
    ],
    Answered(
        "304 keeps the length and its fields",
        "R25, RFC 9110 §15.4.5",
        reply(
            b"Content-Length: 99",
            b'ETag: "a"',
            b"Last-Modified: " + DATE[6:],
            b"Content-Type: text/x",
            status=b"304 Same",
        ),
        line=b"HTTP/1.1 304 Same",
        has=(b"Content-Length: 99", b'ETag: "a"', b"Last-Modified: " + DATE[6:], b"Content-Type: text/x"),
    ),
    Answered(
        "205 is an ordinary response",
        "RFC 9110 §15.3.6",
        sized(b"", status=b"205 Reset Content"),
        line=b"HTTP/1.1 205 Reset Content",
        has=(b"Content-Length: 0",),
    ),
    Answered(
        "a part of a whole is passed on",
        "RFC 9110 §15.3.7",
        sized(b"el", b"Content-Range: bytes 1-2/5", status=b"206 Partial Content"),
        line=b"HTTP/1.1 206 Partial Content",
        has=(b"Content-Range: bytes 1-2/5",),
        body=b"el",
    ),
    Answered(
        "what comes after a response is nobody's",
        "RFC 9112 §9.2, §11.2",
        sized(b"hello") + sized(b"stray"),
        body=b"hello",
    ),
    Answered(
        "what comes after the last chunk is nobody's",
        "RFC 9112 §9.2, §11.2",
        reply(CHUNKED, body=chunks(b"hello")) + b"stray",
        body=b"hello",
    ),
    Answered(
        "a body that HEAD must not have is nobody's",
        "R25, RFC 9112 §11.2",
        sized(b"stray"),
        has=(b"Content-Length: 5",),
        request=ask(method=b"HEAD"),
    ),
    Answered(
        "a body that 304 must not have is nobody's",
        "R25, RFC 9112 §11.2",
        sized(b"stray", status=b"304 Same"),
        line=b"HTTP/1.1 304 Same",
    ),
    Answered(
        "100 that nobody asked for is swallowed",
        "R2, RFC 9110 §15.2",
        b"HTTP/1.1 100 Continue\r\n\r\n" + sized(b"hello"),
        body=b"hello",
    ),
    Answered(
        "102 is swallowed",
        "R2, RFC 9110 §15.2",
        b"HTTP/1.1 102 Processing\r\nX-A: b\r\n\r\n" * 2 + sized(b"hello"),
        lacks=(b"x-a",),
        body=b"hello",
    ),
    Answered(
        "HTTP/1.0 clients hear no interim response",
        "RFC 9110 §15.2",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + sized(b"hello"),
        lacks=(b"link",),
        body=b"hello",
        request=OLD,
    ),
]

JUNK = [
    Junk("another protocol", "G11, RFC 9112 §4", b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
    Junk("no answer at all", "R15, RFC 9112 §8", b"", closing=True),
    Junk("half a status line", "RFC 9112 §8", b"HTTP/1.1 20", closing=True),
    Junk("half a head", "RFC 9112 §8", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", closing=True),
    Junk("a status of two digits", "G11, RFC 9112 §4", b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    Junk("a status of four digits", "G11, RFC 9112 §4", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    Junk("a status of letters", "G11, RFC 9112 §4", b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n"),
    Junk("a status below 100", "G11, RFC 9110 §15", b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n"),
    Junk("a version that is not spoken here", "RFC 9110 §2.5", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    Junk("HTTP/0.9", "RFC 9112 §2.3", b"<html>hello</html>", closing=True),
    Junk("two lengths", "R12, RFC 9112 §6.3", reply(b"Content-Length: 5", b"Content-Length: 6", body=b"hello")),
    Junk("two equal lengths", "R12, RFC 9112 §6.3", reply(b"Content-Length: 5", b"Content-Length: 5", body=b"hello")),
    Junk("a list of lengths", "R12, RFC 9112 §6.3", reply(b"Content-Length: 5, 5", body=b"hello")),
    Junk("a length with a sign", "R12, RFC 9110 §8.6", reply(b"Content-Length: +5", body=b"hello")),
    Junk("a negative length", "R12, RFC 9110 §8.6", reply(b"Content-Length: -5", body=b"hello")),
    Junk("a length of letters", "R12, RFC 9110 §8.6", reply(b"Content-Length: five", body=b"hello")),
    Junk("a length beyond all bounds", "R12, RFC 9110 §8.6", reply(b"Content-Length: " + b"9" * 30, body=b"hello")),
    Junk("an empty length", "R12, RFC 9110 §8.6", reply(b"Content-Length: ", body=b"hello"), closing=True),
    Junk("a length and chunks", "R12, RFC 9112 §6.3", reply(b"Content-Length: 5", CHUNKED, body=chunks(b"hello"))),
    Junk("chunks and a length", "R12, RFC 9112 §6.3", reply(CHUNKED, b"Content-Length: 5", body=chunks(b"hello"))),
    Junk(
        "a coding that nobody undoes", "R12, RFC 9112 §6.1", reply(b"Transfer-Encoding: gzip", body=b"x"), closing=True
    ),
    Junk(
        "a coding under the chunks", "R12, RFC 9112 §6.1", reply(b"Transfer-Encoding: gzip, chunked", body=chunks(b"x"))
    ),
    Junk("chunks within chunks", "R12, RFC 9112 §6.1", reply(CHUNKED, CHUNKED, body=chunks(b"hello"))),
    Junk(
        "a coding that is nearly chunked",
        "R12, RFC 9112 §6.1",
        reply(b"Transfer-Encoding: xchunked", body=chunks(b"x")),
    ),
    Junk("a folded field", "RFC 9112 §5.2", sized(b"", b"X-A: b\r\n c")),
    Junk("a value with NUL", "G11, RFC 9110 §5.5", sized(b"", b"X-A: b\0c")),
    Junk("a value with CR", "G11, RFC 9110 §5.5", sized(b"", b"X-A: b\rc")),
    Junk("a value with a control sign", "G11, RFC 9110 §5.5", sized(b"", b"X-A: b\x01c")),
    Junk("a name with a blank", "G11, RFC 9110 §5.1", sized(b"", b"X A: b")),
    Junk("a name with NUL", "G11, RFC 9110 §5.1", sized(b"", b"X\0A: b")),
    Junk("a blank before the colon", "RFC 9112 §5.1", sized(b"", b"X-A : b")),
    Junk("a field without a name", "G11, RFC 9110 §5.1", sized(b"", b": b")),
    Junk("a field without a colon", "RFC 9112 §5", sized(b"", b"X-A")),
    Junk("lines that end in LF alone", "RFC 9112 §2.2", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    Junk("a field that ends in LF alone", "RFC 9112 §2.2", b"HTTP/1.1 200 OK\r\nX-A: b\nContent-Length: 0\r\n\r\n"),
    Junk("a head that ends in LF alone", "RFC 9112 §2.2", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n"),
    Junk("a head of more than 64 KiB", "R21, RFC 9110 §5.4", sized(b"", *[b"X-A: " + b"v" * 1000] * 80)),
    Junk("more than a thousand fields", "R21, RFC 9110 §5.4", sized(b"", *[b"X: y"] * 1001)),
    Junk("a head without end", "R21, RFC 9110 §5.4", b"HTTP/1.1 200 OK\r\nX-A: " + b"v" * 80_000, closing=True),
    Junk(
        "an interim response and nothing else", "R2, RFC 9110 §15.2", b"HTTP/1.1 102 Processing\r\n\r\n", closing=True
    ),
    Junk("101 that nobody asked for", "R3, RFC 9110 §15.2.2", b"HTTP/1.1 101 Switching\r\nUpgrade: a\r\n\r\n"),
    Junk("a reason with NUL", "G11, RFC 9112 §4", b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n"),
    Junk("a first chunk that is none", "R13, RFC 9112 §7.1", reply(CHUNKED, body=b"xyz\r\nhello\r\n0\r\n\r\n")),
]


@pytest.mark.parametrize("case", FIELDS, ids=lambda case: case.name)
def test_fields_reach_the_client_as_they_came(case: Answered, rig: Rig, client: RawClient) -> None:
    case.hold(rig, client)


@pytest.mark.parametrize("case", FRAMING, ids=lambda case: case.name)
def test_a_body_reaches_the_client_whole(case: Answered, rig: Rig, client: RawClient) -> None:
    case.hold(rig, client)


@pytest.mark.parametrize("case", JUNK, ids=lambda case: case.name)
def test_what_is_no_response_is_a_bad_gateway(case: Junk, rig: Rig, client: RawClient) -> None:
    case.hold(rig, client)


def test_a_client_that_accepts_json_gets_json(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9110 §12.5.1."""
    backend.answer = says(b"junk\r\n\r\n")
    answer = client.ask(ask(b"Accept: application/json"))
    assert answer.status == 502
    assert_told_in_json(answer)


def test_a_date_is_made_when_there_is_none(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9110 §6.6.1."""
    (date,) = client.ask(ask()).values(b"date")
    assert date.endswith(b" GMT")


@pytest.mark.parametrize(
    "reply_", [sized(b"hello") + b"HTTP/1.1 200 OK\r\nX-Stray: 1\r\n\r\n", sized(b"hello") + b"x" * 99]
)
def test_unsolicited_bytes_of_a_backend_are_never_the_next_response(
    reply_: bytes, client: RawClient, backend: ProgrammedBackend
) -> None:
    """R2, RFC 9112 §9.2: request smuggling's other half."""
    backend.answer = says(reply_)
    assert client.ask(ask()).body == b"hello"
    backend.answer = says(sized(b"next"))
    for _ in range(3):
        answer = client.ask(NEXT)
        assert answer.body == b"next"
        assert b"x-stray" not in answer.names


def test_early_hints_reach_the_client_each_of_them(client: RawClient, backend: ProgrammedBackend) -> None:
    """R2, RFC 8297 §2."""
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </%d.css>; rel=preload\r\n\r\n"
    backend.answer = says(hint % 1, b"HTTP/1.1 102 Processing\r\n\r\n", hint % 2, sized(b"hello", b"X-A: b"))
    client.send(ask())
    for number in (b"1", b"2"):
        early = client.answer()
        assert early.status == 103
        assert early.values(b"link") == [b"</%b.css>; rel=preload" % number]
        assert b"transfer-encoding" not in early.names
    final = client.answer()
    assert (final.status, final.body, final.values(b"x-a")) == (200, b"hello", [b"b"])
    assert b"link" not in final.names


@pytest.mark.parametrize("field", [b"Content-Length: 5", b"content-length:5", b"Content-Length: 0", CHUNKED])
def test_an_interim_response_frames_no_body(field: bytes, client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9110 §8.6, RFC 9112 §6.1: a reader that believed it would take the final response for the body."""
    hint = reply(field, b"Link: </a>", status=b"103 Early Hints")
    backend.answer = says(hint * 2, sized(b"hello"))
    client.send(ask())
    for _ in range(2):
        early = client.answer()
        assert (early.status, early.values(b"link")) == (103, [b"</a>"])
        assert not {b"content-length", b"transfer-encoding"} & {*early.names}
    assert client.answer().body == b"hello"


#: Fields by which parsers differ in where an interim response ends.
INTERIM_FRAMING = {
    "length": (b"Content-Length: 5",),
    "lengths": (b"Content-Length: 5", b"content-length: 6"),
    "no length": (b"Content-Length: x",),
    "beyond 64 bits": (b"Content-Length: 99999999999999999999",),
    "folded": (b"Content-Length:\r\n 5",),
    "coding": (CHUNKED,),
    "other coding": (b"Transfer-Encoding: gzip",),
    "both": (b"Content-Length: 5", CHUNKED),
    "both, the other way": (b"TRANSFER-ENCODING: chunked, gzip", b"X-A: b", b"content-length:0"),
}


@pytest.mark.parametrize("cut", ["", "each byte"])
@pytest.mark.parametrize("status", [b"100 Continue", b"102 Processing", b"103 Early Hints", b"104 A", b"199 B"])
@pytest.mark.parametrize("framing", INTERIM_FRAMING)
def test_framing_of_an_interim_response_is_dropped(
    framing: str, status: bytes, cut: str, client: RawClient, backend: ProgrammedBackend
) -> None:
    """RFC 9110 §15.2: an interim response has no content, whatever its fields state."""
    raw = b"".join(
        [b"HTTP/1.1 ", status, b"\r\n", *(f + b"\r\n" for f in INTERIM_FRAMING[framing]), b"Link: </a>\r\n\r\n"]
    )
    whole = raw * 2 + sized(b"hello", b"X-B: c")
    backend.answer = says(*([bytes([one]) for one in whole] if cut else [whole]))
    client.send(ask())
    answer = client.answer()
    while answer.status < 200:
        assert answer.values(b"link") == [b"</a>"]
        assert not {b"content-length", b"transfer-encoding"} & {*answer.names}
        answer = client.answer()
    assert (answer.status, answer.body, answer.values(b"x-b")) == (200, b"hello", [b"c"])
    backend.answer = says(sized(b"next"))
    assert client.ask(NEXT).body == b"next"


@pytest.mark.parametrize("junk", [b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"\0"])
@pytest.mark.parametrize("status", [b"100 Continue", b"103 Early Hints", b"104 A"])
@pytest.mark.parametrize("framing", INTERIM_FRAMING)
def test_content_of_an_interim_response_is_no_final_response(
    framing: str, status: bytes, junk: bytes, client: RawClient, backend: ProgrammedBackend
) -> None:
    """RFC 9110 §15.2: what follows the head has to be a status line."""
    raw = b"".join([b"HTTP/1.1 ", status, b"\r\n", *(f + b"\r\n" for f in INTERIM_FRAMING[framing]), b"\r\n"])
    backend.answer = says(raw + junk + sized(b"hello"))
    client.send(ask())
    answer = client.answer()
    while answer.status < 200:
        answer = client.answer()
    assert answer.status == 502
    assert b"hello" not in answer.body


def test_a_hint_arrives_before_the_final_response_is_there(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 8297 §2: what is early must not wait."""

    heard = Event()

    def answer(peer: Peer, request: Received) -> None:
        peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        peer.wait(heard)
        peer.send(sized(b"hello"))

    backend.answer = answer
    client.send(ask())
    try:
        assert client.head().status == 103
    finally:
        heard.set()
    assert client.answer().body == b"hello"


def test_a_hint_and_nothing_else_is_no_answer(client: RawClient, backend: ProgrammedBackend) -> None:
    """R2, RFC 9110 §15.2: what follows it is ours to say."""
    backend.answer = says_and_closes(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    answer = client.ask(ask())
    if answer.status == 103:
        answer = client.answer()
    assert answer.status == 502


def test_a_backend_that_closes_after_its_response_gets_a_new_connection(
    client: RawClient, backend: ProgrammedBackend
) -> None:
    """RFC 9112 §9.6."""
    backend.answer = says_and_closes(sized(b"hello", b"Connection: close"))
    for _ in range(5):
        assert client.ask(ask()).body == b"hello"
    assert len(backend.requests) == 5
