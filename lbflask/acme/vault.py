"""Encrypts what the store and the disk hold of automatic certificates: with a key of the operator's, which is in
neither.

AES-256-GCM (NIST SP 800-38D) with a random nonce. The name of a record is authenticated with it, so that none can take
the place of another.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12
#: The first characters of a sealed record: the version of its format.
_PREFIX = b"v1."


class Unreadable(ValueError):
    """A record is not one of ours, was changed, or is encrypted with another key."""


class Vault:
    """Seals with the first of the keys, and opens what was sealed with any of them: so keys can be replaced one by one.

    `namespace` is that of the fleet: its records are of no use in another one.
    """

    def __init__(self, keys: Sequence[str], namespace: str) -> None:
        self._ciphers = [AESGCM(_derived(key)) for key in keys]
        self._namespace = namespace

    def __repr__(self) -> str:
        return f"<Vault of {self._namespace}, {len(self._ciphers)} keys>"

    def seal(self, name: str, content: bytes) -> bytes:
        """The content as a record with this name, in printable ASCII."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[0].encrypt(nonce, content, self._label(name))
        return _PREFIX + base64.b64encode(nonce + sealed)

    def open(self, name: str, record: bytes) -> bytes:
        """The content of the record with this name. Raises Unreadable."""
        try:
            raw = base64.b64decode(record.removeprefix(_PREFIX), validate=True)
        except ValueError:
            raise Unreadable("it is not a sealed record") from None
        if not record.startswith(_PREFIX) or len(raw) <= _NONCE_BYTES:
            raise Unreadable("it is not a sealed record")
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], self._label(name))
            except InvalidTag:
                continue
        raise Unreadable("it is encrypted with another key, as by another fleet with this namespace, or was changed")

    def _label(self, name: str) -> bytes:
        return f"{self._namespace}\0{name}".encode("utf-8", "surrogatepass")


def _derived(key: str) -> bytes:
    """The key of the cipher (RFC 5869). The given one has enough randomness; a slow derivation would add nothing."""
    return HKDF(hashes.SHA256(), 32, salt=None, info=b"lbflask automatic certificates").derive(key.encode())
