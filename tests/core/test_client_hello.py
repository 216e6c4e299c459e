from __future__ import annotations

import ssl
from contextlib import suppress

import pytest

from lbflask.core.client_hello import MAX_HELLO, MAX_RECORDS, BadClientHello, server_name
from tests.support.changes import property_test

test_any_beginning = property_test("client_hello")


def hello(name: str | None) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def record(message: bytes) -> bytes:
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def message(body: bytes, kind: int = 1) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def vector(content: bytes, width: int = 2) -> bytes:
    return len(content).to_bytes(width, "big") + content


BEGIN = bytes(34) + vector(b"", 1) + vector(b"\x13\x01") + vector(b"\0", 1)


def named(name: bytes, kind: int = 0) -> bytes:
    return b"\0\0" + vector(vector(bytes([kind]) + vector(name)))


@pytest.mark.parametrize(("name", "found"), [("a.example", "a.example"), ("Shop.EXAMPLE", "shop.example"), (None, "")])
def test_the_name_is_found_however_the_message_arrives(name: str | None, found: str) -> None:
    first = hello(name)
    assert server_name(first + b"more") == found
    assert {server_name(first[:size]) for size in range(len(first))} == {None}
    content = first[5:]
    split = b"".join(record(content[start : start + 50]) for start in range(0, len(content), 50))
    assert server_name(split) == found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (BEGIN, ""),
        (BEGIN + vector(b""), ""),
        (BEGIN + vector(b"\0\x10" + vector(b"x")), ""),
        (BEGIN + vector(b"\0\x10" + vector(b"x") + named(b"b.example")), "b.example"),
        (BEGIN + vector(b"\0\0" + vector(vector(b""))), ""),
        (BEGIN + vector(named(b"other", kind=1)), ""),
    ],
)
def test_messages_without_a_name_have_none(body: bytes, found: str) -> None:
    assert server_name(record(message(body))) == found


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"G", "does not begin with TLS"),
        (b"GET / HTTP/1.1\r\n", "does not begin with TLS"),
        (b"\x16\x02\x01\0\x01\x01", "does not begin with TLS"),
        (record(message(BEGIN)[:3]) + b"\x15\x03\x01\0\x01x", "does not begin with TLS"),
        (b"\x16\x03\x01\0\0", "invalid length"),
        (b"\x16\x03\x01\xff\xff", "invalid length"),
        (record(message(BEGIN, kind=2)), "no ClientHello"),
        (record(b"\x01" + (MAX_HELLO + 1).to_bytes(3, "big")), "longer than"),
        (record(message(bytes(10))), "malformed"),
        (record(b"\x01\0\x40\0") + record(b"\0") * MAX_RECORDS, "in more than 64 records"),
        (record(message(BEGIN + b"\0\x09x")), "malformed"),
        (record(message(BEGIN + vector(b"\0\0\0\x09x"))), "malformed"),
        (record(message(BEGIN + vector(named("ü".encode())))), "name of the server is invalid"),
        (record(message(BEGIN + vector(named(b"a b")))), "name of the server is invalid"),
        (record(message(BEGIN + vector(named(b"a\0b")))), "name of the server is invalid"),
    ],
)
def test_what_is_no_first_message_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(BadClientHello, match=reason):
        server_name(data)
