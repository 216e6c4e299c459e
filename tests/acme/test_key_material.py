from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from devtools.certificates import Authority, in_days
from lbflask.acme.key_material import (
    BadChain,
    checked_chain,
    loaded_key,
    new_key,
    self_signed,
    signing_request,
    validation_certificate,
)


def test_keys_differ_and_can_be_loaded() -> None:
    one, other = new_key(), new_key()
    assert one != other
    assert loaded_key(one).curve.name == "secp256r1"


def test_a_key_of_another_kind_is_refused() -> None:
    body = "MC4CAQAwBQYDK2VwBCIEIGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRk"  # Ed25519
    pem = f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"
    with pytest.raises(ValueError, match="ECDSA"):
        loaded_key(pem)


def test_a_request_is_for_its_name_and_signed_with_its_key() -> None:
    key = new_key()
    request = x509.load_pem_x509_csr(signing_request("shop.example", key))
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["shop.example"]
    assert request.is_signature_valid
    assert request.public_key() == loaded_key(key).public_key()


class TestChain:
    def test_the_validity_of_a_chain_for_the_name_and_key(self) -> None:
        chain, key = self_signed(("shop.example", "other.example"))
        validity = checked_chain("other.example", chain, key)
        assert validity.begins < in_days(0).timestamp() < validity.ends < in_days(3651).timestamp()

    def test_one_for_another_name_or_key_or_none_is_refused(self, tmp_path: Path) -> None:
        chain, key = self_signed(("shop.example",))
        with pytest.raises(BadChain, match="another name"):
            checked_chain("other.example", chain, key)
        with pytest.raises(BadChain, match="another key"):
            checked_chain("shop.example", chain, new_key())
        with pytest.raises(BadChain, match="no certificate"):
            checked_chain("shop.example", "<html>", key)
        nameless = Path(Authority(tmp_path).ca_file).read_text()
        with pytest.raises(BadChain, match="no name"):
            checked_chain("shop.example", nameless, key)


def test_a_server_can_use_what_is_self_signed(tmp_path: Path) -> None:
    chain, key = self_signed(("shop.example",))
    (tmp_path / "pem").write_text(chain + key)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "pem")


def test_the_certificate_of_a_challenge_has_the_critical_digest() -> None:
    chain, _ = validation_certificate("shop.example", "token.thumbprint")
    (extension,) = [
        one for one in x509.load_pem_x509_certificate(chain.encode()).extensions if one.oid.dotted_string[-2:] == "31"
    ]
    assert extension.oid.dotted_string == "1.3.6.1.5.5.7.1.31"
    assert extension.critical
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    assert extension.value.value == b"\x04\x20" + hashlib.sha256(b"token.thumbprint").digest()
