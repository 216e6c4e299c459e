"""Sets of public keys: which ones count, and that no other key verifies a token."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lbflask.core.web_token import ALGORITHMS, BadToken, web_token
from lbflask.credentials.key_set import BadKeySet, KeySet
from tests.support.changes import property_test

RSA = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def public(key: Any, **more: Any) -> dict[str, Any]:
    algorithm: Any = {"RSA": jwt.algorithms.RSAAlgorithm, "EC": jwt.algorithms.ECAlgorithm}.get(
        "RSA" if isinstance(key, rsa.RSAPrivateKey) else "EC" if isinstance(key, ec.EllipticCurvePrivateKey) else "",
        jwt.algorithms.OKPAlgorithm,
    )
    return {**json.loads(algorithm.to_jwk(key.public_key())), **more}


def key_set(*keys: dict[str, Any]) -> KeySet:
    for key in keys:
        key.pop("key_ops", None)
    return KeySet.parsed(json.dumps({"keys": keys}).encode())


def signed(key: Any, algorithm: str, **header: Any) -> Any:
    return web_token(jwt.encode({"sub": "a"}, key, algorithm, header), list(ALGORITHMS))


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (RSA, "PS512"), (EC, "ES256"), (ED, "EdDSA")])
def test_a_key_verifies_what_it_signed(key: Any, algorithm: str) -> None:
    keys = key_set(public(key, kid="k1"), public(OTHER, kid="k2"))
    assert keys.verifies(signed(key, algorithm, kid="k1"))
    assert keys.verifies(signed(key, algorithm))
    assert not keys.verifies(signed(key, algorithm, kid="k2"))
    assert not keys.knows(signed(key, algorithm, kid="k3"))
    assert not keys.verifies(signed(key, algorithm)._replace(signed=b"other"))
    assert not keys.verifies(signed(key, algorithm)._replace(signature=b""))


def test_another_key_of_the_same_identifier_does_not() -> None:
    assert not key_set(public(RSA, kid="k1")).verifies(signed(OTHER, "RS256", kid="k1"))


def test_a_public_key_is_no_secret_of_an_hmac() -> None:
    # RFC 8725 §2.1: the classic confusion.
    secret = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').decode().rstrip("=")
    body = base64.urlsafe_b64encode(b'{"sub":"root"}').decode().rstrip("=")
    mac = hmac.new(secret, f"{head}.{body}".encode(), hashlib.sha256).digest()
    text = f"{head}.{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
    with pytest.raises(BadToken, match="algorithm"):
        web_token(text, [*ALGORITHMS, "HS256"])


def test_a_key_of_another_use_or_algorithm_is_left_out() -> None:
    keys = key_set(
        public(RSA, kid="enc", use="enc"), public(RSA, kid="ps", alg="PS256"), {"kty": "oct", "k": "AAAA"}, {"kty": 1}
    )
    assert len(keys) == 1
    assert not keys.knows(signed(RSA, "RS256", kid="ps"))
    assert keys.verifies(signed(RSA, "PS256", kid="ps"))


def test_the_curve_must_be_that_of_the_algorithm() -> None:
    large = ec.generate_private_key(ec.SECP384R1())
    assert not key_set(public(large)).knows(signed(EC, "ES256"))


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"keys": 1}', b'{"keys": []}', b'{"keys": [1, {"kty": "RSA"}]}', b"[" * 100_000, b"\xff"],
    ids=range(7),
)
def test_a_set_without_a_usable_key_is_refused(content: bytes) -> None:
    with pytest.raises(BadKeySet):
        KeySet.parsed(content)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(BadKeySet, match="no key"):
        key_set(public(rsa.generate_private_key(65537, 1024)))


test_any_bytes_are_a_set_or_refused = property_test("key_set")
