"""Backends from discovery results: addresses with a port, or SRV records (RFC 2782) with addresses.

The order does not depend on the order of the DNS response, which name servers rotate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from ipaddress import ip_address
from math import gcd, lcm

from lbflask.core.checks import HealthCheck
from lbflask.core.model import MOST_WEIGHT, Backend


@dataclass(frozen=True, slots=True)
class DiscoveredBackend:
    """A backend that a source returned; without a `check` of its own it is checked as its pool configures."""

    backend: Backend
    check: HealthCheck | None = None


class SourceCause(StrEnum):
    """Why a source fails, as far as a remedy depends on it. The value is part of records and of the admin API."""

    OTHER = ""  #: another reason, or of a later version
    NO_NAME = "no_name"  #: the name does not exist
    NO_RECORDS = "no_records"  #: the name has no such records
    NAME_SERVER = "name_server"  #: no name server answers, or all refuse
    MISSING = "missing"  #: the file does not exist
    UNREADABLE = "unreadable"  #: the file cannot be read
    INVALID = "invalid"  #: the file has an error, or is being written

    @classmethod
    def _missing_(cls, _: object) -> SourceCause:
        return cls.OTHER


@dataclass(frozen=True, slots=True)
class SourceFailure:
    """The discovery source of a pool, its URL, fails `since` then, in seconds since the epoch, by the store's clock.

    The backends that it gave before stay in force.
    """

    source: str
    reason: str
    since: float
    cause: SourceCause = SourceCause.OTHER


@dataclass(frozen=True, slots=True)
class Service:
    """One SRV record, with the addresses of its target."""

    priority: int
    weight: int
    port: int
    addresses: tuple[str, ...]


def at_addresses(addresses: Iterable[str], port: int, scheme: str, weight: int = 1) -> tuple[DiscoveredBackend, ...]:
    """A backend for each address, named `address:port`."""
    ordered = sorted(set(map(ip_address, addresses)), key=lambda address: (address.version, int(address)))
    return tuple(DiscoveredBackend(_backend(str(address), port, scheme, weight, backup=False)) for address in ordered)


def at_services(services: Iterable[Service], scheme: str) -> tuple[DiscoveredBackend, ...]:
    """A backend for each address of each target: those of the lowest priority serve, all others are backups.

    Weights keep their proportions within each of the two groups; the addresses of a target share its weight. If all
    weights are 0, all are equal; else 0 means the smallest share ("a very small chance", RFC 2782). Of two records for
    the same address and port the lower priority wins, then the greater weight.
    """
    places: dict[tuple[str, int], tuple[int, Fraction]] = {}
    for service in services:
        for address in service.addresses:
            # The minimum wins, so that weights are negated.
            standing = (service.priority, -Fraction(service.weight, len(service.addresses)))
            place = (str(ip_address(address)), service.port)
            places[place] = min(places.get(place, standing), standing)
    lowest = min((priority for priority, _ in places.values()), default=0)
    found = []
    for backup in (False, True):
        group = sorted(place for place, (priority, _) in places.items() if (priority > lowest) is backup)
        weights = whole_weights([-places[place][1] for place in group])
        found += [
            DiscoveredBackend(_backend(address, port, scheme, weight, backup=backup))
            for (address, port), weight in zip(group, weights, strict=True)
        ]
    return tuple(found)


def whole_weights(shares: Sequence[Fraction]) -> list[int]:
    """Weights from 1 to 256 in these proportions: exact if such weights exist, else approximate."""
    given = [share for share in shares if share]
    if not given:
        return [1] * len(shares)
    whole = lcm(*(share.denominator for share in given))
    factor = Fraction(whole)
    if max(given) * factor > MOST_WEIGHT:
        factor /= gcd(*(int(share * whole) for share in given))
    if max(given) * factor > MOST_WEIGHT or len(given) < len(shares):
        factor = MOST_WEIGHT / max(given)
    return [max(1, round(share * factor)) for share in shares]


def _backend(address: str, port: int, scheme: str, weight: int, *, backup: bool) -> Backend:
    host = f"[{address}]" if ":" in address else address
    identity = f"{host}:{port}"
    return Backend(identity, address, port, f"{scheme}://{identity}", weight, scheme, backup=backup)
