"""Which addresses may make requests: networks that are allowed and denied, as sorted boundaries of numbers.

The most specific network that contains an address decides, and a denied one before an equal allowed one. Where there
are lists of allowed networks, addresses in no network are refused; else they are admitted. The number of networks
hardly changes the cost.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import Final

from lbflask.core.http.addresses import parsed_address, plain_network

#: Stands for all clients, also those without an address.
ALL: Final = "all"
#: Stands for clients without an IP address: on a unix socket, or behind a trusted proxy that hides it.
UNIX: Final = "unix"
#: Addresses whose verdict is cached.
MAX_CACHED: Final = 4096

#: A network is a number: its first address, its length in eight bits, and a bit for the verdict, so that sorting puts
#: each network before those within it.
_LENGTH_BITS: Final = 8


@dataclass(frozen=True, slots=True)
class NetworkList:
    """Networks by family, each as its first address times 256 plus its length, in bits; and who else is meant."""

    v4: array[int]
    v6: tuple[int, ...]
    everyone: bool = False
    unix: bool = False

    def __len__(self) -> int:
        return len(self.v4) + len(self.v6) + self.everyone + self.unix


class BadNetworks(ValueError):
    """Texts that are no networks. `errors` has the number of each, from 1, and the reason."""

    def __init__(self, errors: Sequence[tuple[int, str]]) -> None:
        super().__init__(errors[0][1])
        self.errors = errors


def network_list(texts: Iterable[str]) -> NetworkList:
    """The networks: addresses, networks, `all` and `unix`. Texts may end in a comment after `#` or `;`, and may be
    empty. Raises BadNetworks, with all errors.
    """
    v4, v6, everyone, unix = array("Q"), [], False, False
    errors: list[tuple[int, str]] = []
    for number, line in enumerate(texts, 1):
        text = line.partition("#")[0].partition(";")[0].strip()
        if not text:
            continue
        key = _v4_key(text)
        if key >= 0:
            v4.append(key)
        elif text == ALL:
            everyone = True
        elif text == UNIX:
            unix = True
        else:
            try:
                network = plain_network(ip_network(text))
            except ValueError:
                errors.append((number, _reason(text)))
                continue
            key = int(network.network_address) << _LENGTH_BITS | network.prefixlen
            if isinstance(network, IPv4Network):
                v4.append(key)
            else:
                v6.append(key)
    if errors:
        raise BadNetworks(errors)
    return NetworkList(v4, tuple(v6), everyone, unix)


def _reason(text: str) -> str:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        shown = text if len(text) <= 60 else f"{text[:59]}…"
        return f"{shown!r} is no address or network such as 203.0.113.0/24 or 2001:db8::/32"
    return f"{text!r} is an address within a network: write {network}, or {text.partition('/')[0]}"


def _v4_key(text: str) -> int:
    """The number of an IPv4 address or network in its usual form; -1 for any other text."""
    address, slash, prefix = text.partition("/")
    number, length = v4_number(address), 32
    if slash:
        if not (prefix.isascii() and prefix.isdecimal() and len(prefix) <= 2):
            return -1
        length = int(prefix)
    if number < 0 or length > 32 or number & ((1 << (32 - length)) - 1):
        return -1
    return number << _LENGTH_BITS | length


def v4_number(text: str) -> int:
    """The number of an IPv4 address in its usual form, four times as fast as the standard library; else -1."""
    parts = text.split(".")
    if len(parts) != 4 or not text.isascii():
        return -1
    number = 0
    for part in parts:
        if not part.isdecimal() or len(part) > 3 or (part[0] == "0" and len(part) > 1):
            return -1
        byte = int(part)
        if byte > 255:
            return -1
        number = number << 8 | byte
    return number


class AccessList:
    """Decides by address. `allow` and `deny` may each consist of several lists. Allowed lists without networks still
    refuse all others.
    """

    __slots__ = ("_admits_others", "_admitted", "_default", "_v4", "_v6", "size")

    def __init__(self, allow: Sequence[NetworkList], deny: Sequence[NetworkList]) -> None:
        self.size = sum(map(len, (*allow, *deny)))  #: networks
        denied_all, allowed_all = any(one.everyone for one in deny), any(one.everyone for one in allow)
        default = not denied_all and (allowed_all or not allow)
        denied_unix, allowed_unix = any(one.unix for one in deny), any(one.unix for one in allow)
        v4 = [*_verdicts([one.v4 for one in allow], 0), *_verdicts([one.v4 for one in deny], 1)]
        v6 = [*_verdicts([one.v6 for one in allow], 0), *_verdicts([one.v6 for one in deny], 1)]
        self._default = default
        self._admits_others = not denied_unix and (allowed_unix or default)
        self._v4 = array("I", _boundaries(v4, 32, default))
        self._v6 = tuple(_boundaries(v6, 128, default))
        self._admitted = lru_cache(MAX_CACHED)(self._computed)

    def __repr__(self) -> str:
        return f"AccessList({self.size} networks, others {'admitted' if self._default else 'refused'})"

    def admits(self, address: str) -> bool:
        """Whether a client with this address may make requests. Any other text is a client without an address."""
        return self._admitted(address)

    def _computed(self, text: str) -> bool:
        number = v4_number(text)
        if number < 0:
            address = parsed_address(text)
            if address is None:
                return self._admits_others
            number = int(address)
            if not isinstance(address, IPv4Address):
                return (bisect_right(self._v6, number) % 2 == 0) is self._default
        return (bisect_right(self._v4, number) % 2 == 0) is self._default


def _verdicts(lists: Sequence[Sequence[int]], denied: int) -> list[int]:
    return [key << 1 | denied for one in lists for key in one]


def _boundaries(networks: list[int], bits: int, default: bool) -> list[int]:
    """The addresses from which on the verdict is another one, sorted; before the first it is the default.

    Networks are nested or disjoint, so that a stack holds those around the current one.
    """
    networks.sort()
    found: list[int] = []
    end_of_all = 1 << bits
    stack: list[tuple[int, bool]] = [(end_of_all, default)]
    for key in networks:
        first, length, admitted = key >> (_LENGTH_BITS + 1), (key >> 1) & 0xFF, key & 1 == 0
        while stack[-1][0] <= first:
            ended = stack.pop()[0]
            _put(found, ended, stack[-1][1], default)
        _put(found, first, admitted, default)
        stack.append((first + (1 << (bits - length)), admitted))
    while len(stack) > 1:
        ended = stack.pop()[0]
        if ended < end_of_all:
            _put(found, ended, stack[-1][1], default)
    return found


def _put(boundaries: list[int], at: int, admitted: bool, default: bool) -> None:
    """From this address on, the verdict is this one."""
    if boundaries and boundaries[-1] == at:
        boundaries.pop()
    current = (len(boundaries) % 2 == 0) is default
    if current is not admitted:
        boundaries.append(at)
