"""Detects a backend that is the admin listener, which trusts connections from this machine and so must not be one.

Compares all spellings of an address, names by their current addresses, and paths through links.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from lbflask.config.field_types import socket_address
from lbflask.core.http.addresses import IPAddress, parsed_address
from lbflask.core.model import Backend

_LOOPBACK: dict[int, IPAddress] = {4: IPv4Address("127.0.0.1"), 6: IPv6Address("::1")}


class AdminAddress:
    """The address of `admin_bind`; empty for no listener."""

    def __init__(self, bind: str) -> None:
        address = socket_address(bind)
        self.path = address if isinstance(address, str) else ""
        self.port = address[1] if isinstance(address, tuple) else 0
        self._host = parsed_address(address[0]) if isinstance(address, tuple) else None

    def is_backend(self, backend: Backend) -> bool:
        """Whether requests to the backend would reach the listener. Names with its port are resolved."""
        if backend.path:
            return bool(self.path) and _same_file(self.path, backend.path)
        if self._host is None or not self.port or backend.port != self.port:
            return False
        return any(map(self._has, _addresses(backend.host)))

    def is_peer(self, peer: Any) -> bool:
        """Whether a connection with this peer, as `getpeername` has it, leads to the listener."""
        if not isinstance(peer, tuple):
            return bool(self.path) and os.fsdecode(peer) == self.path
        if self._host is None or peer[1] != self.port:
            return False
        address = parsed_address(peer[0])
        return address is not None and self._has(address)

    def _has(self, address: IPAddress) -> bool:
        if address.is_unspecified:
            address = _LOOPBACK[address.version]  # to which the system connects
        if self._host is None or not self._host.is_unspecified:
            return address == self._host
        return self._host.version in (6, address.version) and _is_local(address)


def _addresses(host: str) -> Iterator[IPAddress]:
    """The addresses that a connection to the host may go to; none for a name that can't be resolved now.

    A dot at the end counts as none: resolvers differ in what they do with `127.0.0.1.`.
    """
    try:
        found = socket.getaddrinfo(host.rstrip("."), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return
    for *_, sockaddr in found:
        address = parsed_address(str(sockaddr[0]))
        if address is not None:
            yield address


def _is_local(address: IPAddress) -> bool:
    """Whether it is an address of this machine, which can be bound."""
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def _same_file(one: str, other: str) -> bool:
    try:
        return Path(one).resolve() == Path(other).resolve() or Path(one).samefile(other)
    except (OSError, RuntimeError):  # it does not exist yet, or links form a cycle
        return False
