"""Discovery sources that query DNS: all addresses of a name, or the targets of a service."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from lbflask.core.discovery import Service, SourceCause, at_addresses, at_services
from lbflask.discovery.dns_resolver import NOWHERE, Addresses, DnsResolver, joined
from lbflask.discovery.source import DiscoveryFailure, DiscoveryResult

#: Seconds after which failing name servers are queried again at the latest.
RETRY_AT_MOST = 30.0


@dataclass(frozen=True, slots=True)
class TtlBounds:
    """Bounds of the time to live of an answer, in seconds."""

    min_ttl: float = 1.0
    max_ttl: float = 300.0

    def of(self, ttl: float) -> float:
        """The time to live within the bounds."""
        return max(self.min_ttl, min(ttl, self.max_ttl))

    @property
    def patience(self) -> float:
        """The longest interval between queries after failures, in seconds."""
        return min(RETRY_AT_MOST, self.max_ttl)


class AddressSource:
    """A backend for each address of a name."""

    def __init__(self, names: DnsResolver, name: str, port: int, scheme: str, weight: int, pace: TtlBounds) -> None:
        self._names = names
        self._name = name
        self._port = port
        self._scheme = scheme
        self._weight = weight
        self._pace = pace
        self.patience = pace.patience

    def __str__(self) -> str:
        return f"dns://{self._name}:{self._port}"

    async def ask(self) -> DiscoveryResult:
        """See DiscoverySource."""
        found = await self._names.addresses(self._name)
        backends = at_addresses(found.addresses, self._port, self._scheme, self._weight)
        return DiscoveryResult(backends, self._pace.of(found.ttl), found.doubt, found.cause)


class ServiceSource:
    """A backend for each address of each target of a service."""

    def __init__(self, names: DnsResolver, name: str, scheme: str, pace: TtlBounds) -> None:
        self._names = names
        self._name = name
        self._scheme = scheme
        self._pace = pace
        self.patience = pace.patience

    def __str__(self) -> str:
        return f"srv://{self._name}"

    async def ask(self) -> DiscoveryResult:
        """See DiscoverySource. A target whose addresses cannot be resolved keeps the previous ones."""
        response = await self._names.services(self._name)
        targets = list(dict.fromkeys(record.target for record in response.records if record.target != NOWHERE))
        self._names.forget_all_but(targets)
        if not targets:
            return DiscoveryResult((), self._pace.of(response.ttl))
        asked = await asyncio.gather(
            *(self._names.addresses(target, response.message) for target in targets), return_exceptions=True
        )
        found: dict[str, Addresses] = {}
        doubts: list[tuple[str, SourceCause]] = []
        for target, answer in zip(targets, asked, strict=True):
            if isinstance(answer, Addresses):
                found[target] = answer
                doubts += [(answer.doubt, answer.cause)] if answer.doubt else []
            elif isinstance(answer, DiscoveryFailure):
                doubts.append((str(answer), answer.cause))
            else:
                raise answer
        if not found:
            raise DiscoveryFailure(*joined(doubts))
        services = [
            Service(record.priority, record.weight, record.port, found[record.target].addresses)
            for record in response.records
            if record.target in found
        ]
        ttl = min(response.ttl, *(answer.ttl for answer in found.values()))
        return DiscoveryResult(at_services(services, self._scheme), self._pace.of(ttl), *joined(doubts))
