"""DNS queries (RFC 1035): addresses of names, and services (SRV, RFC 2782).

Name servers are queried directly, since the system's resolver does not return the time to live. So /etc/hosts is not
used; /etc/resolv.conf is read for each query.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset

from lbflask.core.discovery import SourceCause
from lbflask.discovery.source import DiscoveryFailure

#: Queries to name servers within the time-out, so that a lost datagram is not a failure.
_TRIES = 4
#: Concurrent queries.
_AT_ONCE = 16

#: The target of an SRV record for a service that does not exist (RFC 2782).
NOWHERE = "."

#: The record types of the address families.
FAMILIES: Mapping[str, tuple[str, ...]] = {"any": ("A", "AAAA"), "ipv4": ("A",), "ipv6": ("AAAA",)}


class Server(NamedTuple):
    """The address of a name server."""

    address: str
    port: int = 53


class Record(NamedTuple):
    """One SRV record; the target `.` means that the service does not exist."""

    priority: int
    weight: int
    port: int
    target: str


class Records(NamedTuple):
    """Records of a type, with their time to live in seconds, and the whole message."""

    rrset: dns.rrset.RRset | None
    ttl: float
    message: dns.message.Message


@dataclass(frozen=True, slots=True)
class Services:
    """SRV records, and the message with additional address records."""

    records: tuple[Record, ...]
    ttl: float
    message: dns.message.Message


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of a name. `doubt` gives the reason if some are from an earlier answer or missing, `cause` its
    cause.
    """

    addresses: tuple[str, ...]
    ttl: float
    doubt: str = ""
    cause: SourceCause = SourceCause.OTHER


class DnsResolver:
    """Queries these name servers, or else the system's, and keeps the last addresses of each name."""

    def __init__(self, servers: Sequence[Server] = (), *, timeout: float = 5.0, family: str = "any") -> None:
        self._servers = servers
        self._timeout = timeout
        self._kinds = FAMILIES[family]
        self._last: dict[str, dict[str, tuple[str, ...]]] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def services(self, name: str) -> Services:
        """The SRV records of this name. Raises DiscoveryFailure if there are none, or the query fails."""
        found = await self._query(name, "SRV")
        listed = [Record(one.priority, one.weight, one.port, one.target.to_text()) for one in found.rrset or ()]
        records = sorted(record for record in listed if record.port or record.target == NOWHERE)
        if not records:
            raise DiscoveryFailure(f"{name} has no SRV records", SourceCause.NO_RECORDS)
        return Services(tuple(records), found.ttl, found.message)

    async def addresses(self, name: str, parent: dns.message.Message | None = None) -> Addresses:
        """The addresses of this name: the additional ones of another message, if it has some, else those of a query.

        Addresses that cannot be resolved are kept from the last result. Raises DiscoveryFailure without any.
        """
        answers = await asyncio.gather(*(self._of_kind(name, kind, parent) for kind in self._kinds))
        last = self._last.get(name, {})
        now: dict[str, tuple[str, ...]] = {}
        ttls: list[float] = []
        doubts: list[tuple[str, SourceCause]] = []
        for kind, answer in zip(self._kinds, answers, strict=True):
            if isinstance(answer, DiscoveryFailure):
                doubts.append((str(answer), answer.cause))
                now[kind] = last.get(kind, ())
            elif answer.rrset is not None:
                ttls.append(answer.ttl)
                now[kind] = tuple(sorted(one.address for one in answer.rrset if _is_of_a_host(one.address)))
        known = [address for addresses in now.values() for address in addresses]
        if not known:
            # A name without addresses is rather a mistake in a zone than the end of a service: what was, holds.
            doubts = doubts or [(f"{name} has no addresses", SourceCause.NO_RECORDS)]
            now, known = last, [address for addresses in last.values() for address in addresses]
        if not known:
            raise DiscoveryFailure(*joined(doubts))
        self._last[name] = now
        return Addresses(tuple(known), min(ttls, default=math.inf), *joined(doubts))

    def forget_all_but(self, names: Collection[str]) -> None:
        """Drop the addresses of all other names."""
        self._last = {name: last for name, last in self._last.items() if name in names}

    async def _of_kind(self, name: str, kind: str, parent: dns.message.Message | None) -> Records | DiscoveryFailure:
        if parent is not None:
            rrset = parent.get_rrset(
                parent.additional, dns.name.from_text(name), dns.rdataclass.IN, dns.rdatatype.from_text(kind)
            )
            if rrset is not None:
                return Records(rrset, rrset.ttl, parent)
        try:
            return await self._query(name, kind)
        except DiscoveryFailure as reason:
            return reason

    async def _query(self, name: str, kind: str) -> Records:
        """The records of the name, with the shortest time to live in the chain of aliases (RFC 1034 §3.6.2).

        Raises DiscoveryFailure if the query fails, or the name does not exist.
        """
        try:
            async with self._room:
                answer = await self._resolver().resolve(
                    name,
                    kind,
                    raise_on_no_answer=False,
                    search=not self._servers,
                    backend=dns.asyncbackend.get_backend("asyncio"),
                )
        except dns.resolver.NXDOMAIN:
            raise DiscoveryFailure(f"there is no name {name}", SourceCause.NO_NAME) from None
        except dns.resolver.NoNameservers as error:
            raise DiscoveryFailure(f"{name} {kind}: {_reason_of(error)}", SourceCause.NAME_SERVER) from None
        except dns.exception.Timeout:
            reason = f"{name} {kind}: no name server answered within {self._timeout:g} s"
            raise DiscoveryFailure(reason, SourceCause.NAME_SERVER) from None
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise DiscoveryFailure(f"{name} {kind}: {error}") from None
        return Records(answer.rrset, answer.chaining_result.minimum_ttl, answer.response)

    def _resolver(self) -> dns.asyncresolver.Resolver:
        resolver = dns.asyncresolver.Resolver(configure=not self._servers)
        if self._servers:
            resolver.nameservers = [dns.nameserver.Do53Nameserver(*server) for server in self._servers]
        resolver.lifetime = self._timeout
        resolver.timeout = self._timeout / _TRIES
        return resolver


def joined(doubts: Sequence[tuple[str, SourceCause]]) -> tuple[str, SourceCause]:
    """All reasons, each once, with the cause of the first."""
    return "; ".join(dict.fromkeys(reason for reason, _ in doubts)), doubts[0][1] if doubts else SourceCause.OTHER


def _is_of_a_host(address: str) -> bool:
    """Filters on the way say 0.0.0.0 for what they refuse, and to connect there is to connect to this machine."""
    parsed = ip_address(address)
    return not (parsed.is_unspecified or parsed.is_multicast)


def _reason_of(error: dns.resolver.NoNameservers) -> str:
    """The result of each name server, without repeats."""
    said = []
    for server, _, _, problem, _ in error.kwargs["errors"]:
        what = f"answered {problem}" if isinstance(problem, str) else f"failed: {problem}"
        said.append(f"{server.partition(':')[2] or server} {what}")
    return ", ".join(dict.fromkeys(said)) or "there is no name server to ask"
