"""Keys, requests and certificates that lbflask makes by itself: for an order, for a challenge, and until a first order
is complete. All keys are ECDSA on P-256.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lbflask.core.certificate_renewal import Period

#: The extension of a certificate that answers a challenge (RFC 8737 §3, id-pe-acmeIdentifier).
_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
#: How long certificates are valid that lbflask signs by itself.
_SELF_SIGNED_DAYS = 3650


class BadChain(ValueError):
    """A chain of certificates cannot be used; the message gives the reason."""


def new_key() -> str:
    """A new private key in PEM form."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()  # fmt: skip


def loaded_key(pem: str) -> ec.EllipticCurvePrivateKey:
    """The private key in PEM form. Raises ValueError."""
    key = serialization.load_pem_private_key(pem.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("it is no ECDSA key")
    return key


def signing_request(name: str, key: str) -> bytes:
    """The request for a certificate of this name (RFC 2986), in PEM form."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return builder.sign(loaded_key(key), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def checked_chain(name: str, chain: str, key: str) -> Period:
    """The validity of a chain that an authority has issued. Raises BadChain unless it is for this name and key."""
    try:
        certificates = x509.load_pem_x509_certificates(chain.encode())
    except ValueError:
        raise BadChain("it is no certificate in PEM form") from None
    leaf = certificates[0]
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise BadChain("it has no name") from None
    if name not in names.get_values_for_type(x509.DNSName):
        raise BadChain("it is for another name")
    if leaf.public_key() != loaded_key(key).public_key():
        raise BadChain("it is for another key")
    return Period(leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp())


def self_signed(names: tuple[str, ...]) -> tuple[str, str]:
    """A self-signed certificate for these names, and its key, in PEM form."""
    return _signed_by_itself(names, ())


def validation_certificate(name: str, authorization: str) -> tuple[str, str]:
    """The certificate that answers a challenge of the kind tls-alpn-01 (RFC 8737 §3), and its key, in PEM form."""
    digest = hashlib.sha256(authorization.encode()).digest()
    octets = b"\x04" + bytes([len(digest)]) + digest  # an OCTET STRING in DER (X.690 §8.7)
    return _signed_by_itself((name,), (x509.UnrecognizedExtension(_ACME_IDENTIFIER, octets),))


def _signed_by_itself(names: tuple[str, ...], extensions: tuple[x509.ExtensionType, ...]) -> tuple[str, str]:
    pem, now = new_key(), datetime.now(UTC)
    key = loaded_key(pem)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lbflask, self-signed")])
    builder = (
        x509.CertificateBuilder(subject, subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode(), pem
