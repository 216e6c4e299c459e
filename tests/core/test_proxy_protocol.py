from __future__ import annotations

import pytest

from lbflask.core.proxy_protocol import MAX_HEADER, MAX_LINE, BadProxyHeader, header, header_without_client, read_header
from tests.support.changes import property_test

test_any_beginning = property_test("proxy_header")

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FOUR = bytes([192, 0, 2, 7, 10, 0, 0, 1]) + (40_000).to_bytes(2) + (443).to_bytes(2)
SIX = bytes.fromhex("20010db8000000000000000000000007" + "fd000000000000000000000000000001") + FOUR[8:]


def binary(command: int, kind: int, addresses: bytes, length: int | None = None) -> bytes:
    size = len(addresses) if length is None else length
    return SIGNATURE + bytes([command, kind]) + size.to_bytes(2) + addresses


@pytest.mark.parametrize(
    ("data", "client"),
    [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 443\r\n", ("192.0.2.7", "40000")),
        (b"PROXY TCP6 2001:db8::7 fd00::1 40000 0\r\n", ("2001:db8::7", "40000")),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:10.0.0.1 1 2\r\n", ("192.0.2.7", "1")),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN any text of the proxy\r\n", None),
        (binary(0x21, 0x11, FOUR), ("192.0.2.7", "40000")),
        (binary(0x21, 0x11, FOUR + b"\x01\x00\x02h2"), ("192.0.2.7", "40000")),
        (binary(0x21, 0x21, SIX), ("2001:db8::7", "40000")),
        (binary(0x21, 0x31, bytes(216)), ("", "")),
        (binary(0x21, 0x00, b""), None),
        (binary(0x21, 0x12, FOUR), None),
        (binary(0x20, 0x00, b""), None),
        (binary(0x20, 0x11, FOUR), None),
        (binary(0x20, 0xFF, b"ignored"), None),
        (binary(0x21, 0x11, FOUR + bytes(MAX_HEADER - 16 - len(FOUR))), ("192.0.2.7", "40000")),
    ],
)
def test_a_header_states_the_client_however_it_arrives(data: bytes, client: tuple[str, str] | None) -> None:
    assert read_header(data + b"GET / HTTP/1.1\r\n") == (len(data), client)
    assert [read_header(data[:size]) for size in range(len(data))] == [None] * len(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "no header"),
        (b"\x16\x03\x01", "no header"),
        (b"\r\n\r\nQUIT", "no header"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 40000\r\n", "two addresses and two ports"),
        (b"PROXY TCP5 192.0.2.7 10.0.0.1 40000 443\r\n", "two addresses and two ports"),
        (b"PROXY TCP4  192.0.2.7 10.0.0.1 40000 443\r\n", "two addresses and two ports"),
        (b"PROXY TCP4 2001:db8::7 fd00::1 40000 443\r\n", "invalid address"),
        (b"PROXY TCP6 192.0.2.7 10.0.0.1 40000 443\r\n", "invalid address"),
        (b"PROXY TCP6 fe80::1%eth0 fd00::1 40000 443\r\n", "invalid address"),
        (b"PROXY TCP4 192.0.2.07 10.0.0.1 40000 443\r\n", "invalid address"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.x 40000 443\r\n", "invalid address"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n", "invalid address or port"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 0443\r\n", "invalid address or port"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 \r\n", "invalid address or port"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 \xb2 443\r\n", "invalid address or port"),
        (b"PROXY UNKNOWN".ljust(MAX_LINE, b" "), "longer than 107 bytes"),
        (binary(0x11, 0x11, FOUR), "version or command"),
        (binary(0x22, 0x11, FOUR), "version or command"),
        (binary(0x21, 0x41, FOUR), "family or transport"),
        (binary(0x21, 0x13, FOUR), "family or transport"),
        (binary(0x21, 0x21, FOUR), "too short for its addresses"),
        (binary(0x21, 0x11, b"", MAX_HEADER), "longer than 4096 bytes"),
    ],
)
def test_what_is_no_header_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(BadProxyHeader, match=reason):
        read_header(data)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("client", "server"),
    [
        ("192.0.2.7", "10.0.0.1"),
        ("2001:db8::7", "fd00::1"),
        ("192.0.2.7", "fd00::1"),
        ("2001:db8::7", "10.0.0.1"),
        ("::ffff:192.0.2.7", "10.0.0.1"),
    ],
)
def test_what_is_written_is_read(version: int, client: str, server: str) -> None:
    written = header(version, (client, "40000"), (server, "443"))
    assert read_header(written) == (len(written), (client.removeprefix("::ffff:"), "40000"))


def test_the_written_bytes_are_those_of_the_specification() -> None:
    client, server = ("192.0.2.7", "40000"), ("10.0.0.1", "443")
    assert header(1, client, server) == b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 443\r\n"
    assert header(1, client, ("fd00::1", "443")) == b"PROXY TCP6 ::ffff:192.0.2.7 fd00::1 40000 443\r\n"
    assert header(2, client, server) == binary(0x21, 0x11, FOUR)
    assert header(2, ("2001:db8::7", "40000"), ("fd00::1", "443")) == binary(0x21, 0x21, SIX)


@pytest.mark.parametrize("version", [1, 2])
def test_a_connection_without_a_client_is_the_proxys(version: int) -> None:
    for written in (
        header_without_client(version),
        header(version, ("", ""), ("/run/s", "")),
        header(version, ("::1", "1"), ("", "")),
    ):
        assert read_header(written) == (len(written), None)
