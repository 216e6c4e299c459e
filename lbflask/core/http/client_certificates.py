"""The fields that pass the certificate of a client to backends (RFC 9440): Client-Cert, and Client-Cert-Chain."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Final

from lbflask.core.http.types import Fields

_NAMES: Final = frozenset({"client-cert", "client-cert-chain"})


def with_certificates(fields: Fields, chain: Sequence[bytes]) -> Fields:
    """The fields with those of this chain, each certificate in DER, the client's first; those of others are removed
    (§2.4). The chain lists the certificates that vouch for it (§2.3).
    """
    kept = [field for field in fields if field[0].lower() not in _NAMES]
    if chain:
        kept.append(("Client-Cert", _byte_sequence(chain[0])))
    if len(chain) > 1:
        kept.append(("Client-Cert-Chain", ", ".join(map(_byte_sequence, chain[1:]))))
    return kept


def _byte_sequence(content: bytes) -> str:
    """As of RFC 8941 §3.3.5."""
    return ":" + b64encode(content).decode("ascii") + ":"
