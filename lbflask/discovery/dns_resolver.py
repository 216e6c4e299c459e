"""Asking name servers (RFC 1035): addresses of names, and services (SRV, RFC 2782).

A name server is asked directly, and not through the system's resolver, which does not tell for how long an answer is
good. So /etc/hosts is not looked at, but /etc/resolv.conf is, each time anew.
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

from lbflask.discovery.source import DiscoveryFailure

#: Times that name servers are asked, one after the other, within the time-out: a lost datagram is not a failure.
_TRIES = 4
#: Names that are looked up at once.
_AT_ONCE = 16

#: The target of an SRV record that says that there is no such service (RFC 2782).
NOWHERE = "."

#: The types of addresses that are asked for.
FAMILIES: Mapping[str, tuple[str, ...]] = {"any": ("A", "AAAA"), "ipv4": ("A",), "ipv6": ("AAAA",)}


class Server(NamedTuple):
    """Where a name server listens."""

    address: str
    port: int = 53


class Record(NamedTuple):
    """One SRV record; the target `.` says that there is no such service here."""

    priority: int
    weight: int
    port: int
    target: str


class Records(NamedTuple):
    """Records of a type, with their time to live in seconds, and what else was in the message."""

    rrset: dns.rrset.RRset | None
    ttl: float
    message: dns.message.Message


@dataclass(frozen=True, slots=True)
class Services:
    """An answer with SRV records, and the addresses that came with them."""

    records: tuple[Record, ...]
    ttl: float
    message: dns.message.Message


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of a name. A `doubt` says what is from an earlier answer, or not known, and why."""

    addresses: tuple[str, ...]
    ttl: float
    doubt: str = ""


class DnsResolver:
    """Asks these name servers, or else the system's, and remembers what they said last."""

    def __init__(self, servers: Sequence[Server] = (), *, timeout: float = 5.0, family: str = "any") -> None:
        self._servers = servers
        self._timeout = timeout
        self._kinds = FAMILIES[family]
        self._last: dict[str, dict[str, tuple[str, ...]]] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def services(self, name: str) -> Services:
        """The services of this name. Raises NoAnswer if there are none, or none can be had."""
        found = await self._query(name, "SRV")
        listed = [Record(one.priority, one.weight, one.port, one.target.to_text()) for one in found.rrset or ()]
        records = sorted(record for record in listed if record.port or record.target == NOWHERE)
        if not records:
            raise DiscoveryFailure(f"{name} has no SRV records")
        return Services(tuple(records), found.ttl, found.message)

    async def addresses(self, name: str, parent: dns.message.Message | None = None) -> Addresses:
        """The addresses of this name: those that `told` tells of beside its answer, else those that are asked for.

        What cannot be had is as it was last. Raises NoAnswer if it was not known either.
        """
        answers = await asyncio.gather(*(self._of_kind(name, kind, parent) for kind in self._kinds))
        last = self._last.get(name, {})
        now: dict[str, tuple[str, ...]] = {}
        ttls, doubts = [], []
        for kind, answer in zip(self._kinds, answers, strict=True):
            if isinstance(answer, DiscoveryFailure):
                doubts.append(str(answer))
                now[kind] = last.get(kind, ())
            elif answer.rrset is not None:
                ttls.append(answer.ttl)
                now[kind] = tuple(sorted(one.address for one in answer.rrset if _is_of_a_host(one.address)))
        known = [address for addresses in now.values() for address in addresses]
        if not known:
            # A name without addresses is rather a mistake in a zone than the end of a service: what was, holds.
            doubts = doubts or [f"{name} has no addresses"]
            now, known = last, [address for addresses in last.values() for address in addresses]
        if not known:
            raise DiscoveryFailure("; ".join(dict.fromkeys(doubts)))
        self._last[name] = now
        return Addresses(tuple(known), min(ttls, default=math.inf), "; ".join(dict.fromkeys(doubts)))

    def forget_all_but(self, names: Collection[str]) -> None:
        """Remember nothing of other names any more."""
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
        """What is said of the name, with the shortest time to live on the way to it (RFC 1034 §3.6.2).

        Raises NoAnswer if nobody says anything, or that there is no such name.
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
            raise DiscoveryFailure(f"there is no name {name}") from None
        except dns.resolver.NoNameservers as error:
            raise DiscoveryFailure(f"{name} {kind}: {_reason_of(error)}") from None
        except dns.exception.Timeout:
            raise DiscoveryFailure(f"{name} {kind}: no name server answered within {self._timeout:g} s") from None
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


def _is_of_a_host(address: str) -> bool:
    """Filters on the way say 0.0.0.0 for what they refuse, and to connect there is to connect to this machine."""
    parsed = ip_address(address)
    return not (parsed.is_unspecified or parsed.is_multicast)


def _reason_of(error: dns.resolver.NoNameservers) -> str:
    """What each name server did, once."""
    said = []
    for server, _, _, problem, _ in error.kwargs["errors"]:
        what = f"answered {problem}" if isinstance(problem, str) else f"failed: {problem}"
        said.append(f"{server.partition(':')[2] or server} {what}")
    return ", ".join(dict.fromkeys(said)) or "there is no name server to ask"
