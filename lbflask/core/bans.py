"""Bans of client addresses: what they are, when a rule gives one, and which of them covers an address."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_network
from typing import Final

from lbflask.core.access_list import AccessList, v4_number
from lbflask.core.http.addresses import parsed_address, plain_network

#: Seconds of a ban: unless given, and at most.
DEFAULT_DURATION, MAX_DURATION = 3600, 30 * 86_400
#: Bans that are kept. Beyond them the oldest goes: first those that rules gave.
MAX_BANS: Final = 10_000
#: The shortest prefixes that can be banned, of IPv4 and of IPv6: shorter ones are a mistake, or the whole world.
LEAST_V4, LEAST_V6 = 8, 16


@dataclass(frozen=True, slots=True)
class Ban:
    """Requests from the addresses of `network` are refused until then, in seconds of the store's clock. `actor` is the
    operator; of a ban by a rule, `rule` has its name.
    """

    network: str
    until: float
    since: float = 0.0
    actor: str = ""
    reason: str = ""
    rule: str = ""

    @property
    def giver(self) -> str:
        """Who gave it, in words."""
        return f"the rule {self.rule}" if self.rule else self.actor


@dataclass(frozen=True, slots=True)
class BanRule:
    """Clients that get `count` answers with one of the statuses within so many seconds are banned for `duration`
    seconds. Those that `exempt` admits are not.
    """

    name: str
    statuses: frozenset[int]
    count: int
    within: float
    duration: int
    exempt: AccessList


def banned_network(text: str) -> str:
    """The network of an address or a network, in the one form that bans have. Raises ValueError."""
    try:
        network = plain_network(ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f"{text[:60]!r} is no address or network such as 203.0.113.7 or 2001:db8::/48") from None
    least = LEAST_V4 if network.version == 4 else LEAST_V6
    if network.prefixlen < least:
        raise ValueError(f"{text!r} is too large a network: the shortest prefix of a ban is /{least}")
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return str(network)


class BanList:
    """The bans that a process knows. Threads and greenlets may share it: each change is one step."""

    def __init__(self) -> None:
        self._bans: dict[str, Ban] = {}
        # By length of the prefix, and then by the bits of the network. A new length makes a new tuple.
        self._v4: tuple[tuple[int, dict[int, Ban]], ...] = ()
        self._v6: tuple[tuple[int, dict[int, Ban]], ...] = ()

    def __repr__(self) -> str:
        return f"BanList({len(self._bans)})"

    def __len__(self) -> int:
        return len(self._bans)

    def find(self, address: str, now: float, without: Collection[str] = ()) -> Ban | None:
        """The ban that covers the address, `without` those by these rules; None for none, and for a text that is no
        address.
        """
        number, bits, tables = v4_number(address), 32, self._v4
        if number < 0:
            parsed = parsed_address(address)
            if parsed is None:
                return None
            number = int(parsed)
            if not isinstance(parsed, IPv4Address):
                bits, tables = 128, self._v6
        for length, table in tables:
            ban = table.get(number >> (bits - length))
            if ban is not None and ban.until > now and not (without and ban.rule in without):
                return ban
        return None

    def active(self, now: float) -> list[Ban]:
        """The bans that are not over."""
        return [ban for ban in list(self._bans.values()) if ban.until > now]

    def put(self, ban: Ban, now: float) -> None:
        """Add a ban, or replace that of its network; one that is over removes it. Invalid networks are ignored."""
        self._drop(ban.network)
        if ban.until <= now or not self._index(ban):
            return
        self._bans[ban.network] = ban
        if len(self._bans) > MAX_BANS:
            self._drop(next((one.network for one in self._bans.values() if one.rule), next(iter(self._bans))))

    def replace(self, bans: Iterable[Ban], now: float) -> None:
        """Keep only these bans."""
        found = {ban.network: ban for ban in bans}
        for network in self._bans.keys() - found.keys():
            self._drop(network)
        for ban in found.values():
            self.put(ban, now)

    def expire(self, now: float) -> None:
        """Remove the bans that are over."""
        for network in [network for network, ban in self._bans.items() if ban.until <= now]:
            self._drop(network)

    def _index(self, ban: Ban) -> bool:
        try:
            network = ip_network(ban.network)
        except ValueError:
            return False
        length, bits = network.prefixlen, network.max_prefixlen
        tables = self._v4 if bits == 32 else self._v6
        table = next((table for found, table in tables if found == length), None)
        if table is None:
            table = {}
            if bits == 32:
                self._v4 = (*tables, (length, table))
            else:
                self._v6 = (*tables, (length, table))
        table[int(network.network_address) >> (bits - length)] = ban
        return True

    def _drop(self, text: str) -> None:
        if self._bans.pop(text, None) is not None:
            network = ip_network(text)
            for length, table in self._v4 if network.version == 4 else self._v6:
                if length == network.prefixlen:
                    table.pop(int(network.network_address) >> (network.max_prefixlen - length), None)
