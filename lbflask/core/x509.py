"""The end of a certificate's validity, its names and the type of its key, from its DER form (RFC 5280 §4.1, X.690)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

#: Tags of values (X.690 §8.1.2), and the bit of a length that has several bytes (§8.1.3.5).
_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x17, 0x18, 0xA0
_LONG_FORM = 0x80
#: Tags of the extensions of a certificate, of their parts, and of a DNS name among alternative names (§4.2.1.6).
_EXTENSIONS, _OBJECT, _OCTETS, _DNS_NAME = 0xA3, 0x06, 0x04, 0x82
#: The object identifier of subjectAltName, 2.5.29.17.
_ALTERNATIVE_NAMES = b"\x55\x1d\x11"
#: Key types by the object identifier of their algorithm (RFC 8017 §A.1, RFC 5480 §2.1.1, RFC 8410 §3).
_KEY_TYPES = {
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01": "RSA",
    b"\x2a\x86\x48\xce\x3d\x02\x01": "ECDSA",
    b"\x2b\x65\x70": "Ed25519",
    b"\x2b\x65\x71": "Ed448",
}


def expiry(der: bytes) -> float:
    """When the certificate expires, in seconds since the epoch. Raises ValueError for anything else."""
    not_after = _after(_content(_from_validity(der), _SEQUENCE))
    if not_after[:1] == bytes([_GENERALIZED_TIME]):
        text = _content(not_after, _GENERALIZED_TIME).decode("ascii")
    else:
        text = _content(not_after, _UTC_TIME).decode("ascii")
        text = ("19" if text >= "50" else "20") + text  # two digits of the year (RFC 5280 §4.1.2.5.1)
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def key_type(der: bytes) -> str:
    """The kind of the certificate's key: `RSA`, `ECDSA`, `Ed25519`, `Ed448` or `other`. Raises ValueError."""
    algorithm = _content(_content(_after(_after(_from_validity(der))), _SEQUENCE), _SEQUENCE)
    return _KEY_TYPES.get(_content(algorithm, _OBJECT), "other")


def dns_names(der: bytes) -> tuple[str, ...]:
    """The DNS names among the certificate's alternative names, in small letters. Raises ValueError."""
    optional = _after(_after(_after(_from_validity(der))))
    for tag, content in _values(optional):
        if tag == _EXTENSIONS:
            for _, extension in _values(_content(content, _SEQUENCE)):
                parts = list(_values(extension))
                if parts and parts[0] == (_OBJECT, _ALTERNATIVE_NAMES) and parts[-1][0] == _OCTETS:
                    names = _values(_content(parts[-1][1], _SEQUENCE))
                    return tuple(name.decode("ascii").lower() for kind, name in names if kind == _DNS_NAME)
    return ()


def _from_validity(der: bytes) -> bytes:
    """The fields of the certificate from `validity` on: then come `subject` and `subjectPublicKeyInfo`."""
    fields = _content(_content(der, _SEQUENCE), _SEQUENCE)
    if fields[:1] == bytes([_VERSION]):
        fields = _after(fields)
    for _ in ("serialNumber", "signature", "issuer"):
        fields = _after(fields)
    return fields


def _values(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and the content of each value."""
    while encoded:
        begin, end = _bounds(encoded)
        yield encoded[0], encoded[begin:end]
        encoded = encoded[end:]


def _content(encoded: bytes, tag: int) -> bytes:
    """The content of the first value, which must have this tag."""
    if not encoded or encoded[0] != tag:
        raise ValueError(f"no value with tag {tag:#x}")
    begin, end = _bounds(encoded)
    return encoded[begin:end]


def _after(encoded: bytes) -> bytes:
    """What follows the first value."""
    return encoded[_bounds(encoded)[1] :]


def _bounds(encoded: bytes) -> tuple[int, int]:
    """Where the content of the first value begins and ends. Raises ValueError if it is not complete."""
    begin = 2
    if len(encoded) < begin:
        raise ValueError("a value is cut")
    length = encoded[1]
    if length >= _LONG_FORM:
        begin += length - _LONG_FORM
        length = int.from_bytes(encoded[2:begin])
    if begin + length > len(encoded):
        raise ValueError("a value is cut")
    return begin, begin + length
