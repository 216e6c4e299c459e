"""The PROXY protocol (HAProxy, "The PROXY protocol, versions 1 & 2"): the header by which a proxy in front states its
client's address before the first byte of the client, and the one that states ours to a backend.
"""

from __future__ import annotations

from typing import Final

from lbflask.core.http.addresses import IPAddress, parsed_address

#: The first bytes of a header of version 1, and of version 2 (§2.1, §2.2).
_LINE: Final = b"PROXY "
_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
#: Bytes of the longest line, with its end (§2.1); of a header of version 2, ours: a few hundred bytes are common.
MAX_LINE: Final = 107
MAX_HEADER: Final = 4096
#: Bytes before the addresses of version 2 (§2.2): signature, version and command, family and transport, length.
_FIXED: Final = 16
_IPV4: Final = 0x1
_IPV6: Final = 0x2
_STREAM: Final = 0x1
#: The bytes of the addresses and ports by family (§2.2).
_SIZES: Final = {0x0: 0, _IPV4: 12, _IPV6: 36, 0x3: 216}
_LOCAL_COMMAND: Final = 0x20
_PROXY_COMMAND: Final = 0x21

#: An address and its port; an empty address is that of a unix socket.
Endpoint = tuple[str, str]


class BadProxyHeader(ValueError):
    """The bytes begin no header of the PROXY protocol. The text says why."""


def read_header(data: bytes) -> tuple[int, Endpoint | None] | None:
    """The size of the header at the beginning of the data, and the address of the client that it states: None where the
    proxy in front sends for itself (LOCAL, UNKNOWN), so that the peer is the client. None for a header of which the
    data are only a part. Raises BadProxyHeader at the first byte that no header has there.
    """
    if data[: len(_SIGNATURE)] == _SIGNATURE[: len(data)]:
        return _binary(data)
    if data[: len(_LINE)] == _LINE[: len(data)]:
        return _text(data)
    raise BadProxyHeader("there is no header of the PROXY protocol")


def _text(data: bytes) -> tuple[int, Endpoint | None] | None:
    line, end, _ = data[:MAX_LINE].partition(b"\r\n")
    if not end:
        if len(data) >= MAX_LINE:
            raise BadProxyHeader(f"the line is longer than {MAX_LINE} bytes")
        return None
    size = len(line) + len(end)
    parts = line.decode("latin-1").split(" ")
    if parts[1] == "UNKNOWN":
        return size, None
    version = {"TCP4": 4, "TCP6": 6}.get(parts[1])
    if version is None or len(parts) != 6:
        raise BadProxyHeader("the line is not PROXY, TCP4 or TCP6, two addresses and two ports")
    addresses = [parsed_address(text) if _is_address(text, version) else None for text in parts[2:4]]
    if addresses[0] is None or addresses[1] is None or not (_is_port(parts[4]) and _is_port(parts[5])):
        raise BadProxyHeader("the line has an invalid address or port")
    return size, (str(addresses[0]), parts[4])


def _is_address(text: str, version: int) -> bool:
    """Whether the characters are those of an address of this version: a zone, which means nothing here, is none."""
    return (":" in text) == (version == 6) and "%" not in text


def _is_port(text: str) -> bool:
    plain = text.isascii() and text.isdecimal() and len(text) <= 5
    return plain and int(text) <= 65_535 and (text == "0" or text[0] != "0")


def _binary(data: bytes) -> tuple[int, Endpoint | None] | None:
    if len(data) > 12 and data[12] not in (_LOCAL_COMMAND, _PROXY_COMMAND):
        raise BadProxyHeader("the header has an unknown version or command")
    if len(data) < _FIXED:
        return None
    length = int.from_bytes(data[14:_FIXED])
    if length > MAX_HEADER - _FIXED:
        raise BadProxyHeader(f"the header is longer than {MAX_HEADER} bytes")
    if data[12] == _PROXY_COMMAND:
        _check_family(data[13], length)
    if len(data) < _FIXED + length:
        return None
    return _FIXED + length, None if data[12] == _LOCAL_COMMAND else _stated(data)


def _check_family(kind: int, length: int) -> None:
    """Raises BadProxyHeader for an unknown family or transport, and for a length too small for its addresses."""
    size = _SIZES.get(kind >> 4)
    if size is None or kind & 0xF > 0x2:
        raise BadProxyHeader("the header has an unknown family or transport")
    if length < size:
        raise BadProxyHeader("the header is too short for its addresses")


def _stated(data: bytes) -> Endpoint | None:
    """The client of a whole header with the command PROXY. What is no stream is the proxy's matter (§2.2)."""
    family, transport = data[13] >> 4, data[13] & 0xF
    if family == 0x0 or transport != _STREAM:
        return None
    if family == _IPV4:
        return _address(data[16:20]), str(int.from_bytes(data[24:26]))
    if family == _IPV6:
        return _address(data[16:32]), str(int.from_bytes(data[48:50]))
    return "", ""


def _address(packed: bytes) -> str:
    if len(packed) == 4:
        return ".".join(map(str, packed))
    groups = ":".join([packed[start : start + 2].hex() for start in range(0, 16, 2)])
    return str(parsed_address(groups))


def header(version: int, client: Endpoint, server: Endpoint) -> bytes:
    """The header of version 1 or 2 for a connection of the client to `server`, an address of ours. Without two IP
    addresses, as for a unix socket, it is UNKNOWN, or LOCAL.
    """
    source, target = parsed_address(client[0]), parsed_address(server[0])
    if source is None or target is None:
        return header_without_client(version)
    is_six = 6 in (source.version, target.version)  # then both are in the form of IPv6
    if version == 1:
        texts = (_as_six(source), _as_six(target)) if is_six else (str(source), str(target))
        family = "TCP6" if is_six else "TCP4"
        return f"PROXY {family} {texts[0]} {texts[1]} {client[1]} {server[1]}\r\n".encode("ascii")
    ports = int(client[1]).to_bytes(2) + int(server[1]).to_bytes(2)
    packed = (_packed_as_six(source) + _packed_as_six(target)) if is_six else source.packed + target.packed
    kind = (_IPV6 if is_six else _IPV4) << 4 | _STREAM
    addresses = packed + ports
    return _SIGNATURE + bytes([_PROXY_COMMAND, kind]) + len(addresses).to_bytes(2) + addresses


def header_without_client(version: int) -> bytes:
    """The header of a connection without a client, as of a health check: UNKNOWN in version 1, LOCAL in version 2."""
    if version == 1:
        return b"PROXY UNKNOWN\r\n"
    return _SIGNATURE + bytes([_LOCAL_COMMAND, 0]) + bytes(2)


def _as_six(address: IPAddress) -> str:
    return str(address) if address.version == 6 else f"::ffff:{address}"


def _packed_as_six(address: IPAddress) -> bytes:
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
