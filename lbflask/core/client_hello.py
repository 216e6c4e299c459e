"""The name of the server in the first message of a TLS client (RFC 8446 §4.1.2, RFC 6066 §3), without decryption."""

from __future__ import annotations

from typing import Final

#: Bytes of the longest message that is read, and of the content of a record (§5.1); and the records of a message, which
#: are all read again when more arrives.
MAX_HELLO: Final = 16_384
MAX_RECORDS: Final = 64
_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0
#: Bytes before the content of a record, and before that of a handshake message.
_RECORD: Final = 5
_MESSAGE: Final = 4
#: Bytes of the version and of the random value of the message.
_BEGIN: Final = 34


class BadClientHello(ValueError):
    """The bytes are no first message of a TLS client. The text says why."""


def server_name(data: bytes) -> str | None:
    """The name that a client asks for, in small letters; empty if it asks for none. With Encrypted Client Hello it is
    the public name. None for data that are only a part of the message. Raises BadClientHello.
    """
    message = b""
    position = records = 0
    while len(data) >= position + _RECORD:
        length = int.from_bytes(data[position + 3 : position + _RECORD])
        if data[position] != _HANDSHAKE or data[position + 1] != 3:
            raise BadClientHello("the client does not begin with TLS")
        if not 0 < length <= MAX_HELLO:
            raise BadClientHello("a record has an invalid length")
        records += 1
        if records > MAX_RECORDS:
            raise BadClientHello(f"the ClientHello is in more than {MAX_RECORDS} records")
        message += data[position + _RECORD : position + _RECORD + length]
        if len(message) >= _MESSAGE:
            size = int.from_bytes(message[1:_MESSAGE])
            if message[0] != _CLIENT_HELLO:
                raise BadClientHello("the first message is no ClientHello")
            if size > MAX_HELLO:
                raise BadClientHello(f"the ClientHello is longer than {MAX_HELLO} bytes")
            if len(message) >= _MESSAGE + size:
                return _name_in(message[_MESSAGE : _MESSAGE + size])
        position += _RECORD + length
    if data and data[0] != _HANDSHAKE:
        raise BadClientHello("the client does not begin with TLS")
    return None


def _name_in(hello: bytes) -> str:
    rest = hello[_BEGIN:]
    for width in (1, 2, 1):  # session id, cipher suites, compression methods
        _, rest = _vector(rest, width)
    if not rest:
        return ""  # without extensions
    extensions, _ = _vector(rest, 2)
    while extensions:
        kind = int.from_bytes(extensions[:2])
        content, extensions = _vector(extensions[2:], 2)
        if kind == _SERVER_NAME:
            return _host_in(content)
    return ""


def _host_in(content: bytes) -> str:
    names, _ = _vector(content, 2)
    if not names or names[0] != _HOST_NAME:
        return ""
    name, _ = _vector(names[1:], 2)
    text = name.decode("latin-1").lower()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise BadClientHello("the name of the server is invalid")
    return text


def _vector(data: bytes, width: int) -> tuple[bytes, bytes]:
    """The content of a vector, whose length comes first in so many bytes, and what follows it (§3.4)."""
    end = width + int.from_bytes(data[:width])
    if len(data) < width or len(data) < end:
        raise BadClientHello("the ClientHello is malformed")
    return data[width:end], data[end:]
