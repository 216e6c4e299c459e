from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from lbflask.core import x509
from tests.support.changes import property_test

CA = trustme.CA()


def der(until: datetime) -> bytes:
    leaf = CA.issue_cert("a", not_before=datetime(1960, 1, 1, tzinfo=UTC), not_after=until)
    return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())


@pytest.mark.parametrize(
    "until",
    [
        datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
        datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(2050, 1, 1, tzinfo=UTC),  # GeneralizedTime from here on
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
    ],
)
def test_the_expiry_is_that_which_the_authority_wrote(until: datetime) -> None:
    assert x509.expiry(der(until)) == until.timestamp()


def value(tag: int, content: bytes) -> bytes:
    return bytes([tag, len(content)]) + content


@pytest.mark.parametrize(("kind", "told"), [(trustme.KeyType.RSA, "RSA"), (trustme.KeyType.ECDSA, "ECDSA")])
def test_names_and_the_type_of_the_key_are_those_of_the_authority(kind: trustme.KeyType, told: str) -> None:
    leaf = CA.issue_cert("Shop.Example", "*.shop.example", "10.0.0.1", "me@shop.example", key_type=kind)
    made = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
    assert x509.dns_names(made) == ("shop.example", "*.shop.example")
    assert x509.key_type(made) == told


def test_a_certificate_without_alternative_names_has_none() -> None:
    empty = value(0x30, b"")
    subject = empty + value(0x30, value(0x30, value(0x06, b"\x2a")) + value(0x03, b""))
    others = value(0xA3, value(0x30, value(0x30, value(0x06, b"\x55\x1d\x0f") + value(0x04, b"")) + empty))
    begin = value(2, b"\x01") + empty + empty + empty + subject
    for end in (b"", value(0xA1, b""), others):
        made = value(0x30, value(0x30, begin + end))
        assert x509.dns_names(made) == ()
        assert x509.key_type(made) == "other"


@pytest.mark.parametrize("ask", [x509.dns_names, x509.key_type])
@pytest.mark.parametrize("end", [b"", b"\x30", value(0x30, b"")])
def test_names_of_something_else_are_refused(ask: Callable[[bytes], object], end: bytes) -> None:
    with pytest.raises(ValueError, match=r"no value|is cut"):
        ask(value(0x30, value(0x30, value(2, b"\x01") + value(0x30, b"") * 2 + end)))


def certificate(not_after: bytes, version: bytes = b"") -> bytes:
    validity = value(0x30, value(0x17, b"500101000000Z") + not_after)
    return value(0x30, value(0x30, version + value(2, b"\x01") + value(0x30, b"") + value(0x30, b"") + validity))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (b"500101000000Z", datetime(1950, 1, 1, tzinfo=UTC)),
        (b"491231235959Z", datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_years_of_two_digits_are_of_two_centuries(text: bytes, moment: datetime) -> None:
    for version in (b"", value(0xA0, value(2, b"\x02"))):  # version 1 has no field for it
        assert x509.expiry(certificate(value(0x17, text), version)) == moment.timestamp()


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\x30",
        b"\x30\x05abc",
        b"\x30\x82\x10\x00",
        b"\x02\x01\x01",
        certificate(value(0x0C, b"260101000000Z")),
        certificate(value(0x17, b"26\xff101000000Z")),
        certificate(value(0x17, b"261301000000Z")),
        certificate(b""),
        certificate(value(0x17, b"260101000000Z"))[:-1],
    ],
    ids=repr,
)
def test_anything_else_is_an_error(junk: bytes) -> None:
    with pytest.raises(ValueError, match=r"value|codec|time data"):
        x509.expiry(junk)


def test_the_message_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="no value with tag 0x30"):
        x509.expiry(b"\x02\x01\x01")
    with pytest.raises(ValueError, match="a value is cut"):
        x509.expiry(b"\x30\x05abc")


def test_the_authority_of_a_file_has_an_expiry_too(tmp_path: Path) -> None:
    CA.cert_pem.write_to_path(str(tmp_path / "ca"))
    assert (
        x509.expiry(ssl.PEM_cert_to_DER_cert((tmp_path / "ca").read_text()))
        > datetime(2000, 1, 1, tzinfo=UTC).timestamp()
    )


test_any_bytes_have_an_expiry_or_are_an_error = property_test("certificate")
