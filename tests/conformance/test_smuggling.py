"""Two readers must never see two different requests (RFC 9112 §11.2): each attack is refused, or made plain."""

from __future__ import annotations

import pytest

from devtools.raw_client import RawClient
from devtools.scripted_backend import Peer
from tests.conformance.cases import Attack, ask, chunked, post
from tests.conformance.servers import Rig
from tests.support.programmed import ProgrammedBackend, Received, next_of

#: What an attacker wants to be taken for a second request.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
SIZE = b"Content-Length: %d" % len(SMUGGLED)
CHUNKED = b"Transfer-Encoding: chunked"


def framed(*fields: bytes, body: bytes = b"0\r\n\r\n" + SMUGGLED) -> bytes:
    """A POST with these framing fields, whose body is at an end at once if it is chunked."""
    return ask(*fields, method=b"POST") + body


def within(chunk: bytes) -> bytes:
    """A chunked POST that begins with these bytes."""
    return ask(CHUNKED, method=b"POST") + chunk + SMUGGLED


LENGTHS = [
    Attack("a length and chunks", "RFC 9112 §6.3", framed(b"Content-Length: 5", CHUNKED)),
    Attack("chunks and a length", "RFC 9112 §6.3", framed(CHUNKED, b"Content-Length: 5")),
    Attack("two lengths", "RFC 9112 §6.3", framed(b"Content-Length: 0", SIZE, body=SMUGGLED)),
    Attack("two equal lengths", "RFC 9112 §6.3", framed(SIZE, SIZE, body=SMUGGLED)),
    Attack("a list of lengths", "RFC 9112 §6.3", framed(b"Content-Length: 0, 0", body=SMUGGLED)),
    Attack("a length with a plus", "RFC 9110 §8.6", framed(b"Content-Length: +0", body=SMUGGLED)),
    Attack("a negative length", "RFC 9110 §8.6", framed(b"Content-Length: -1", body=SMUGGLED)),
    Attack("a length in hexadecimal", "RFC 9110 §8.6", framed(b"Content-Length: 0x0", body=SMUGGLED)),
    Attack("a length with an underscore", "RFC 9110 §8.6", framed(b"Content-Length: 3_5", body=SMUGGLED)),
    Attack("a length with a blank within", "RFC 9110 §8.6", framed(b"Content-Length: 3 5", body=SMUGGLED)),
    Attack("a length with a fraction", "RFC 9110 §8.6", framed(b"Content-Length: 0.0", body=SMUGGLED)),
    Attack("an empty length", "RFC 9110 §8.6", framed(b"Content-Length:", body=SMUGGLED)),
    Attack("a length in other digits", "RFC 9110 §8.6", framed(b"Content-Length: \xb2", body=SMUGGLED)),
    Attack("a length and a quote", "RFC 9110 §8.6", framed(b'Content-Length: "0"', body=SMUGGLED)),
    Attack("a length before a blank and a colon", "RFC 9112 §5.1", framed(b"Content-Length : 0", body=SMUGGLED)),
    Attack(
        "a length with an underscore in its name",
        "G15, RFC 9110 §8.6",
        framed(SIZE, b"Content_Length: 0", body=SMUGGLED),
        (200, 400),
    ),
]

CODINGS = [
    Attack("a coding that nobody knows", "RFC 9112 §6.1", framed(b"Transfer-Encoding: xchunked"), (400, 501)),
    Attack("chunked and then another", "RFC 9112 §6.3", framed(b"Transfer-Encoding: chunked, identity"), (400, 501)),
    Attack("identity", "RFC 9112 §7", framed(b"Transfer-Encoding: identity"), (400, 501)),
    Attack(
        "identity under chunks", "RFC 9112 §7", framed(b"Transfer-Encoding: identity, chunked"), (400, 501), stock=False
    ),
    Attack("gzip under chunks", "RFC 9112 §7.2", framed(b"Transfer-Encoding: gzip, chunked"), (400, 501)),
    Attack("two lines of chunks", "RFC 9112 §6.1", framed(CHUNKED, CHUNKED), (400, 501)),
    Attack("chunks and another line", "RFC 9112 §6.1", framed(CHUNKED, b"Transfer-Encoding: x"), (400, 501)),
    Attack("another line and chunks", "RFC 9112 §6.1", framed(b"Transfer-Encoding: x", CHUNKED), (400, 501)),
    Attack("two cases of the name", "RFC 9110 §5.1", framed(CHUNKED, b"transfer-encoding: identity"), (400, 501)),
    Attack("a quoted coding", "RFC 9112 §7", framed(b'Transfer-Encoding: "chunked"'), (400, 501)),
    Attack("a coding with a parameter", "RFC 9112 §7", framed(b"Transfer-Encoding: chunked;a=b"), (400, 501)),
    Attack("an empty coding", "RFC 9112 §6.1", framed(b"Transfer-Encoding:"), (400, 501)),
    Attack("an empty element of codings", "RFC 9110 §5.6.1", framed(b"Transfer-Encoding: ,chunked"), (400, 501)),
    Attack("a vertical tab before the coding", "RFC 9110 §5.5", framed(b"Transfer-Encoding: \x0bchunked"), (400, 501)),
    Attack("a coding before a blank and a colon", "RFC 9112 §5.1", framed(b"Transfer-Encoding : chunked")),
    Attack("a coding on a folded line", "RFC 9112 §5.2", framed(b"Transfer-Encoding:\r\n chunked"), (400, 501)),
    Attack("a coding behind a bare CR", "RFC 9112 §2.2", framed(b"X-A: b\rTransfer-Encoding: chunked", SIZE)),
    Attack("a coding behind NUL", "RFC 9110 §5.5", framed(b"Transfer-Encoding: chunked\0")),
    Attack(
        "chunks in HTTP/1.0",
        "RFC 9112 §6.1",
        framed(CHUNKED).replace(b"HTTP/1.1\r\nHost: a\r\nTr", b"HTTP/1.0\r\nHost: a\r\nTr"),
    ),
    Attack(
        "a coding with an underscore in its name",
        "G15, RFC 9112 §6.1",
        framed(SIZE, b"Transfer_Encoding: chunked", body=SMUGGLED),
        (200, 400),
    ),
    Attack(
        "a coding behind a tab",
        "RFC 9112 §5",
        framed(b"Transfer-Encoding:\tchunked", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
        (200, 400, 501),
    ),
    Attack(
        "a coding before a blank",
        "RFC 9112 §5",
        framed(b"Transfer-Encoding: chunked ", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
        (200, 400, 501),
    ),
    Attack("a request within a chunk", "RFC 9112 §7.1", chunked(SMUGGLED), (200,)),
    Attack("a request within a body", "RFC 9112 §6.2", post(SMUGGLED), (200,)),
]

CHUNKS = [
    Attack("a negative size", "RFC 9112 §7.1", within(b"-1\r\n")),
    Attack("a size with a plus", "RFC 9112 §7.1", within(b"+5\r\nhello\r\n")),
    Attack("a size with 0x", "RFC 9112 §7.1", within(b"0x5\r\nhello\r\n")),
    Attack("a size with a blank before it", "RFC 9112 §7.1", within(b" 5\r\nhello\r\n")),
    Attack("a size with an underscore", "RFC 9112 §7.1", within(b"1_0\r\nhello\r\n")),
    Attack("an empty size", "RFC 9112 §7.1", within(b"\r\nhello\r\n")),
    Attack("a size of letters", "RFC 9112 §7.1", within(b"xyz\r\nhello\r\n")),
    Attack("an extension without a size", "RFC 9112 §7.1.1", within(b";a=b\r\nhello\r\n")),
    Attack("a chunk without its CRLF", "RFC 9112 §7.1", within(b"5\r\nhello0\r\n\r\n")),
    Attack("a chunk that is longer than it says", "RFC 9112 §7.1", within(b"3\r\nhello\r\n0\r\n\r\n")),
    Attack("a size line that ends in LF alone", "RFC 9112 §2.2", within(b"5\nhello\r\n0\r\n\r\n")),
    Attack("a chunk that ends in LF alone", "RFC 9112 §2.2", within(b"5\r\nhello\n0\r\n\r\n")),
    Attack("a bare CR in an extension", "RFC 9112 §7.1.1", within(b"5;a\rb\r\nhello\r\n0\r\n\r\n")),
    Attack("a bare LF in an extension", "RFC 9112 §7.1.1", within(b"5;a\nb\r\nhello\r\n0\r\n\r\n")),
    Attack("NUL in an extension", "RFC 9112 §7.1.1", within(b"5;a\0b\r\nhello\r\n0\r\n\r\n"), (200, 400)),
    Attack("a trailer with a blank before its colon", "RFC 9112 §7.1.2", within(b"0\r\nX-A : b\r\n\r\n"), (200, 400)),
    Attack("a last chunk without its end", "RFC 9112 §7.1", within(b"0\r\n"), (200, 400)),
]

LINES = [
    Attack("a folded field", "RFC 9112 §5.2", ask(b"X-A: b\r\n c") + SMUGGLED, stock=False),
    Attack("a field that is folded by a tab", "RFC 9112 §5.2", ask(b"X-A: b\r\n\tc") + SMUGGLED, stock=False),
    Attack("a first field that is folded", "RFC 9112 §2.2", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n" + SMUGGLED),
    Attack("a bare CR in a value", "RFC 9112 §2.2", ask(b"X-A: b\rX-B: c") + SMUGGLED),
    Attack("a bare CR at a line's end", "RFC 9112 §2.2", b"GET / HTTP/1.1\rHost: a\r\r" + b"\r\n\r\n" + SMUGGLED),
    Attack("NUL in a value", "RFC 9110 §5.5", ask(b"X-A: b\0c") + SMUGGLED),
    Attack("NUL in a name", "RFC 9110 §5.1", ask(b"X\0A: b") + SMUGGLED),
    Attack("NUL in a target", "RFC 9112 §3.2", ask(target=b"/\0") + SMUGGLED),
    Attack("a blank before a colon", "RFC 9112 §5.1", ask(b"X-A : b") + SMUGGLED),
    Attack("a tab before a colon", "RFC 9112 §5.1", ask(b"X-A\t: b") + SMUGGLED),
    Attack("a blank in a name", "RFC 9110 §5.1", ask(b"X A: b") + SMUGGLED),
    Attack("a line without a colon", "RFC 9112 §5", ask(b"X-A") + SMUGGLED),
    Attack("a line without a name", "RFC 9110 §5.1", ask(b": b") + SMUGGLED),
    Attack("two blanks in the request line", "RFC 9112 §3", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", (200, 400)),
    Attack("a tab in the request line", "RFC 9112 §3", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n" + SMUGGLED),
    Attack("a blank after the version", "RFC 9112 §3", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n" + SMUGGLED),
    Attack("a bare CR in the target", "RFC 9112 §2.2", ask(target=b"/\rX-A:b") + SMUGGLED),
]


@pytest.mark.parametrize("case", LENGTHS, ids=lambda case: case.name)
def test_a_length_has_one_reading(case: Attack, rig: Rig, client: RawClient) -> None:
    case.hold(rig, client)


@pytest.mark.parametrize("case", CODINGS, ids=lambda case: case.name)
def test_a_coding_has_one_reading(case: Attack, rig: Rig, client: RawClient) -> None:
    case.hold(rig, client)


@pytest.mark.parametrize("case", CHUNKS, ids=lambda case: case.name)
def test_a_chunk_has_one_reading(case: Attack, rig: Rig, client: RawClient) -> None:
    case.hold(rig, client)


@pytest.mark.parametrize("case", LINES, ids=lambda case: case.name)
def test_a_line_has_one_reading(case: Attack, rig: Rig, client: RawClient) -> None:
    case.hold(rig, client)


@pytest.mark.parametrize("size", [b"f" * 40, b"10000000000000000", b"8000000000000000", b"ffffffffffffffff"])
def test_a_chunk_of_any_size_is_never_complete_too_early(
    size: bytes, client: RawClient, backend: ProgrammedBackend
) -> None:
    """RFC 9112 §7.1: a size that overflows would be taken for a small one. It is refused, or waited for in vain."""
    taken = backend.takes_all()
    client.send(within(size + b"\r\n"))
    client.finish()
    assert client.answer().status in (400, 413, 499)
    if backend.requests:
        assert b"0\r\n\r\n" not in next_of(taken)
        assert backend.request.target == b"/"


@pytest.mark.parametrize("place", ["request line", "field", "end"])
def test_a_bare_line_feed_is_refused_or_made_plain(
    place: str, rig: Rig, client: RawClient, backend: ProgrammedBackend
) -> None:
    """G2, RFC 9112 §2.2: one parser takes it for a line's end, which the request that we write then has in full."""
    request = ask(b"X-A: b", b"X-B: c")
    client.send(
        {
            "request line": request.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n"),
            "field": request.replace(b"X-A: b\r\n", b"X-A: b\n"),
            "end": request[:-4] + b"\n\n",
        }[place]
    )
    answer = client.answer()
    if answer.status == 400:
        assert backend.requests == []
    else:
        assert rig.kind == "fast"
        assert answer.status == 200
        assert backend.request.head == ask(b"X-A: b", b"X-B: c", *backend.request.lines[3:])


def test_pipelined_requests_are_answered_in_order(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9112 §9.3.2."""

    def answer(peer: Peer, request: Received) -> None:
        body = peer.read_body(request.head)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.target + body) + request.target + body)

    backend.answer = answer
    client.send(ask(target=b"/1") + post(b"two", target=b"/2") + ask(target=b"/3") + post(b"four", target=b"/4"))
    assert [client.answer().body for _ in range(4)] == [b"/1", b"/2two", b"/3", b"/4four"]
    assert [request.target for request in backend.requests] == [b"/1", b"/2", b"/3", b"/4"]


def test_an_answer_of_our_own_keeps_its_place_in_a_pipeline(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9112 §9.3.2: nor does a refusal of a well-framed request end the connection."""
    client.send(ask(target=b"/1") + ask(target=b"/#2") + ask(target=b"/3"))
    assert [client.answer().status for _ in range(3)] == [200, 400, 200]
    assert [request.target for request in backend.requests] == [b"/1", b"/3"]


def test_after_a_refused_head_nothing_is_read(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9112 §9.6, §11.2: where the next request would begin is unknown."""
    client.send(ask(target=b"/1") + framed(b"Content-Length: 5", CHUNKED) + ask(target=b"/3"))
    assert client.answer().status == 200
    refused = client.answer()
    assert (refused.status, refused.values(b"connection")) == (400, [b"close"])
    assert client.rest() == b""
    assert [request.target for request in backend.requests] == [b"/1"]
