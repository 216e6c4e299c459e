"""The addresses of hosts.

An address literal needs no lookup. A name goes to the system's resolver, on a separate thread, with one lookup at a
time for each name, however many requests wait for it; the answer is valid for a few seconds (ADR 0025).
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import takewhile
from typing import NamedTuple

from lbflask.upstream.shortage import NoThread, resource_of, start_thread

#: Lookups at once. One that no server answers lasts many seconds.
AT_ONCE = 64
#: Seconds for which an answer is valid: the system's resolver does not give the time to live.
GOOD_FOR = 5.0
#: Seconds after a failed lookup before the next one.
FAILED_FOR = 1.0
#: Seconds to wait for a lookup while an earlier answer is available.
RENEWED_WITHIN = 0.25
#: Seconds for which an earlier answer is used while lookups fail (RFC 8767 §5).
STALE_FOR = 86_400.0
#: Hosts that are remembered.
MOST_HOSTS = 4096

#: Failures that prove that a name has no address.
_CERTAIN = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


class HostAddress(NamedTuple):
    """An address of a host, without a port; `scope` is the number of an interface, of link-local addresses in IPv6."""

    family: int
    address: str
    scope: int = 0

    def at(self, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
        """What `connect` takes."""
        return (self.address, port) if self.family == socket.AF_INET else (self.address, port, 0, self.scope)


class _NameRecord:
    """The state of a name. `flight` is the lookup under way, begun at `began`; it ends without a value."""

    __slots__ = ("addresses", "began", "error", "expires", "flight", "learned", "name", "turn")

    def __init__(self, name: str) -> None:
        self.name = name
        self.addresses: tuple[HostAddress, ...] = ()
        self.error: Exception | None = None
        self.expires = self.learned = float("-inf")
        self.flight: Future[None] | None = None
        self.began = 0.0
        self.turn = 0

    def answer(self) -> Sequence[HostAddress]:
        """The addresses, those of the preferred family in turn. Raises the error of the lookup."""
        addresses = self.addresses
        if not addresses:
            error = self.error or TimeoutError()
            raise type(error)(*error.args)  # not the same one in many threads
        if len(addresses) == 1:
            return addresses
        alike = sum(1 for _ in takewhile(lambda address: address.family == addresses[0].family, addresses))
        turn = self.turn % alike
        self.turn = turn + 1
        return addresses[turn:alike] + addresses[:turn] + addresses[alike:]


def literal(host: str) -> HostAddress | None:
    """The address that the host is, in any spelling that a resolver takes without a server; None for a name.

    Of an address in IPv6, brackets around it are dropped, and its zone is a number or the name of an interface
    (RFC 4007 §11); one without an interface is looked up, and fails there.
    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    with suppress(ValueError):
        parsed = ipaddress.ip_address(bare)
        if isinstance(parsed, ipaddress.IPv4Address):
            return HostAddress(socket.AF_INET, str(parsed))
        zone, scope = parsed.scope_id, 0
        if zone:
            with suppress(OSError):
                scope = int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)
            if not scope:
                return None
        return HostAddress(socket.AF_INET6, bare.partition("%")[0], scope)
    if bare[:1].isdecimal() and bare.isascii() and bare.isprintable() and " " not in bare:
        with suppress(OSError):
            return HostAddress(socket.AF_INET, socket.inet_ntoa(socket.inet_aton(bare)))  # 127.1, 0x7f000001
    return None


def resolved(name: str) -> tuple[HostAddress, ...]:
    """The addresses of the name as the system's resolver has them, in its order. Blocks; raises what it does."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    addresses = [
        HostAddress(family, str(address[0]).partition("%")[0], int(address[3]) if len(address) > 3 else 0)
        for family, _, _, _, address in found
        if family in (socket.AF_INET, socket.AF_INET6)
    ]
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "no address in IPv4 or IPv6")
    return tuple(dict.fromkeys(addresses))


def _is_certain(error: Exception | None) -> bool:
    """Whether the failure proves that the name has no address, rather than that no server answered."""
    return not isinstance(error, OSError) or (isinstance(error, socket.gaierror) and error.errno in _CERTAIN)


class SystemResolver:
    """Finds the addresses of hosts. Threads and greenlets may share it.

    `lookup` gives the addresses of a name, blocks for as long as that takes, and raises what `resolved` does; `clock`
    gives steady seconds.
    """

    def __init__(
        self,
        lookup: Callable[[str], Sequence[HostAddress]] = resolved,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = lookup
        self._clock = clock
        self._hosts: dict[str, _NameRecord] = {}
        self._queue: deque[_NameRecord] = deque()
        self._running = 0
        self._lock = threading.Lock()

    def find(self, host: str, timeout: float) -> Sequence[HostAddress]:
        """The addresses of the host, at least one, in the order in which they are to be tried.

        Raises TimeoutError when none is known within `timeout` seconds from the begin of the lookup, and what the
        system's resolver raises: OSError, UnicodeError for a name that DNS has no form for.
        """
        known = self._known(host)
        if known.expires > self._clock():
            return known.answer()
        flight, patience = self._lookup(known, timeout)
        with suppress(TimeoutError):
            flight.result(patience)
        return known.answer()

    async def find_soon(self, host: str, timeout: float) -> Sequence[HostAddress]:
        """The same, in an event loop."""
        known = self._known(host)
        if known.expires > self._clock():
            return known.answer()
        flight, patience = self._lookup(known, timeout)
        waiting = asyncio.wrap_future(flight)
        try:
            await asyncio.wait([waiting], timeout=patience)
        finally:
            waiting.cancel()  # the lookup goes on
        return known.answer()

    def _known(self, host: str) -> _NameRecord:
        known = self._hosts.get(host)
        if known is None:
            known = _NameRecord(host)
            address = literal(host)
            if address is not None:
                known.addresses, known.expires = (address,), float("inf")
            if len(self._hosts) >= MOST_HOSTS:
                self._hosts.clear()
            self._hosts[host] = known
        return known

    def _lookup(self, host: _NameRecord, timeout: float) -> tuple[Future[None], float]:
        """The lookup under way, begun if there is none, and how many seconds to wait for it."""
        now = self._clock()
        with self._lock:
            flight = host.flight
            if flight is None:
                flight = host.flight = Future()
                flight.set_running_or_notify_cancel()  # so that no waiter can cancel it
                host.began = now
                if not host.addresses:
                    host.error = None
                self._queue.append(host)
                starts = self._running < AT_ONCE
                self._running += starts
            else:
                starts = False
        if starts:
            try:
                start_thread(self._run, "names")
            except OSError as error:
                self._give_up(error)
        return flight, max(0.0, host.began + (RENEWED_WITHIN if host.addresses else timeout) - now)

    def _give_up(self, error: OSError) -> None:
        """A thread could not be started. Without any other thread, fail what is queued."""
        with self._lock:
            self._running -= 1
            waiting = [] if self._running else list(self._queue)
            if waiting:
                self._queue.clear()
        for host in waiting:
            self._settle(host, (), error)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._running -= 1
                    return
                host = self._queue.popleft()
            self._settle(host, *self._outcome(host.name))

    def _outcome(self, name: str) -> tuple[Sequence[HostAddress], Exception | None]:
        """The addresses of the name, or why there are none."""
        try:
            return self._ask(name), None
        except RuntimeError as error:  # gevent starts native threads for lookups
            return (), NoThread(errno.EAGAIN, str(error))
        except Exception as error:  # noqa: BLE001 - OSError, UnicodeError, ValueError: raised in each waiter
            return (), error

    def _settle(self, host: _NameRecord, addresses: Sequence[HostAddress], error: Exception | None) -> None:
        """Store the outcome of a lookup, and wake its waiters."""
        now = self._clock()
        with self._lock:
            if addresses:
                host.addresses, host.error, host.learned, host.expires = tuple(addresses), None, now, now + GOOD_FOR
            else:
                if _is_certain(error) or now - host.learned > STALE_FOR:
                    host.addresses = ()
                host.error = error
                # a shortage of this process is not cached
                host.expires = now if error is not None and resource_of(error) else now + FAILED_FOR
            flight, host.flight = host.flight, None
        if flight is not None:
            flight.set_result(None)
