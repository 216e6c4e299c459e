"""Sets of public keys (RFC 7517), and signatures by them (RFC 7515)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lbflask.core.web_token import ALGORITHMS, WebToken

#: Bytes of a set, and keys of it that are used.
MAX_BYTES, MAX_KEYS = 1 << 18, 64
#: Bits of the shortest RSA key (RFC 7518 §3.3).
LEAST_RSA_BITS = 2048
#: The curve of each algorithm (RFC 7518 §3.4).
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


class BadKeySet(ValueError):
    """A set cannot be used; the message has the reason."""


class _PublicKey(NamedTuple):
    key_id: str
    algorithms: tuple[str, ...]
    value: Any


class KeySet:
    """The keys of a set that verify signatures."""

    def __init__(self, keys: Sequence[_PublicKey]) -> None:
        self._keys = tuple(keys)

    def __repr__(self) -> str:
        return f"KeySet({', '.join(key.key_id or '-' for key in self._keys)})"

    def __len__(self) -> int:
        return len(self._keys)

    @classmethod
    def parsed(cls, content: bytes) -> KeySet:
        """The set of a JSON text. Keys of other uses and kinds are left out. Raises BadKeySet if none is left."""
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            raise BadKeySet("it is no JSON") from None
        listed = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(listed, list):
            raise BadKeySet('it is no set of keys, an object with a list "keys"')
        found = [key for one in listed[:MAX_KEYS] if isinstance(one, dict) and (key := _public_key(one)) is not None]
        if not found:
            raise BadKeySet("no key in it can verify a token")
        return cls(found)

    def knows(self, token: WebToken) -> bool:
        """Whether a key may be the one of the token."""
        return any(True for _ in self._candidates(token))

    def verifies(self, token: WebToken) -> bool:
        """Whether a key has made the signature of the token."""
        from jwt.algorithms import get_default_algorithms  # noqa: PLC0415 - only where tokens are checked

        algorithm = get_default_algorithms()[token.algorithm]
        return any(algorithm.verify(token.signed, key.value, token.signature) for key in self._candidates(token))

    def _candidates(self, token: WebToken) -> Sequence[_PublicKey]:
        """With an identifier, the keys of it only."""
        return [
            key
            for key in self._keys
            if token.algorithm in key.algorithms and (not token.key_id or key.key_id == token.key_id)
        ]


def _public_key(document: Mapping[str, Any]) -> _PublicKey | None:
    """The key; None for one that is not for signatures, is too short, or has no known kind."""
    from jwt.algorithms import get_default_algorithms  # noqa: PLC0415
    from jwt.exceptions import InvalidKeyError  # noqa: PLC0415

    kind, use, stated, key_id = (document.get(name) for name in ("kty", "use", "alg", "kid"))
    operations = document.get("key_ops")
    if use not in (None, "sig") or (isinstance(operations, list) and "verify" not in operations):
        return None
    usable = [
        name
        for name, its_kind in ALGORITHMS.items()
        if its_kind == kind and stated in (None, name) and _CURVES.get(name, document.get("crv")) == document.get("crv")
    ]
    if not usable:
        return None
    public = {name: value for name, value in document.items() if name not in ("d", "p", "q", "dp", "dq", "qi", "oth")}
    try:
        value = get_default_algorithms()[usable[0]].from_jwk(json.dumps(public))
    except (InvalidKeyError, ValueError, TypeError, KeyError):
        return None
    if kind == "RSA" and getattr(value, "key_size", 0) < LEAST_RSA_BITS:
        return None
    return _PublicKey(key_id if isinstance(key_id, str) else "", tuple(usable), value)
