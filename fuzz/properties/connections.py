"""What a connection begins with, before the first byte of HTTP."""

from __future__ import annotations

from lbflask.core.client_hello import BadClientHello, server_name
from lbflask.core.http.addresses import parsed_address
from lbflask.core.proxy_protocol import MAX_HEADER, BadProxyHeader, read_header


def proxy_header(data: bytes) -> None:
    """Any beginning is a header, a part of one, or refused; the pieces in which it arrives do not matter."""
    try:
        found = read_header(data)
    except BadProxyHeader as error:
        assert str(error).isprintable()
        return
    size = len(data) if found is None else found[0]
    assert size <= MAX_HEADER
    assert all(read_header(data[:part]) is None for part in range(0, size, max(1, size // 50)))
    if found is not None:
        assert read_header(data[:size]) == found
        address, port = found[1] or ("", "")
        assert address == "" or str(parsed_address(address)) == address
        assert port == "" or 0 <= int(port) <= 65_535


def client_hello(data: bytes) -> None:
    """Any beginning is a first message of TLS, a part of one, or refused; what follows it does not matter."""
    try:
        found = server_name(data)
    except BadClientHello as error:
        assert str(error).isprintable()
        return
    if found is None:
        assert all(server_name(data[:part]) is None for part in range(0, len(data), max(1, len(data) // 50)))
    else:
        assert found.isascii()
        assert found == found.lower()
        assert server_name(data + b"GET / HTTP/1.1") == found
