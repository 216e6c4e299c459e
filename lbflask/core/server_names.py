"""Which certificates a listener presents for the name that a client asks for (SNI, RFC 6066 §3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

#: Characters of a name in DNS (RFC 1035 §2.3.4); clients may send longer ones.
MAX_NAME = 253

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class CertificateNames:
    """The names of a certificate, in small letters, each exact or `*.` and a domain, and the type of its key."""

    names: tuple[str, ...]
    key_type: str


def numbers_by_name(certificates: Sequence[CertificateNames]) -> dict[str, tuple[int, ...]]:
    """The numbers of the certificates for each name: of each key type the first, so that clients choose among types."""
    found: dict[str, dict[str, int]] = {}
    for number, certificate in enumerate(certificates):
        for name in certificate.names:
            found.setdefault(name, {}).setdefault(certificate.key_type, number)
    return {name: tuple(sorted(by_type.values())) for name, by_type in found.items()}


def default_numbers(certificates: Sequence[CertificateNames]) -> tuple[int, ...]:
    """The numbers of the certificates for clients that ask for no known name: the first one, with those of other key
    types for the first of its names.
    """
    names = certificates[0].names
    return numbers_by_name(certificates)[names[0]] if names else (0,)


def find(table: Mapping[str, Found], name: str) -> Found | None:
    """The entry for a name: the exact one, else that of the wildcard for its first label (RFC 9525 §6.3)."""
    if len(name) > MAX_NAME + 1:
        return None
    name = name.lower().removesuffix(".")
    found = table.get(name)
    return found if found is not None else table.get("*." + name.partition(".")[2])
