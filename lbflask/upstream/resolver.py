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

#: Concurrent lookups. One that no server answers lasts many seconds.
MAX_LOOKUPS = 64
#: Seconds for which an answer is valid: the system's resolver does not give the time to live.
VALID_FOR = 5.0
#: Seconds after a failed lookup before the next one.
RETRY_AFTER = 1.0
#: Seconds to wait for a lookup while an earlier answer is available.
RENEWAL_TIMEOUT = 0.25
#: Seconds for which an earlier answer is used while lookups fail (RFC 8767 §5).
STALE_FOR = 86_400.0
#: Hosts in the cache.
MAX_HOSTS = 4096

#: Failures that prove that a name has no address.
_DEFINITE = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


class HostAddress(NamedTuple):
    """An address of a host, without a port. `scope` is the interface index of a link-local address in IPv6."""

    family: int
    address: str
    scope: int = 0

    def at(self, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
        """The argument of `connect`."""
        return (self.address, port) if self.family == socket.AF_INET else (self.address, port, 0, self.scope)


class _NameRecord:
    """The cached state of a name. `lookup` is the one in progress, since `began`; its result is None."""

    __slots__ = ("addresses", "began", "error", "expires", "learned", "lookup", "name", "turn")

    def __init__(self, name: str) -> None:
        self.name = name
        self.addresses: tuple[HostAddress, ...] = ()
        self.error: Exception | None = None
        self.expires = self.learned = float("-inf")
        self.lookup: Future[None] | None = None
        self.began = 0.0
        self.turn = 0

    def __repr__(self) -> str:
        return f"<_NameRecord {self.name!r} addresses={len(self.addresses)}{' in lookup' if self.lookup else ''}>"

    def answer(self) -> Sequence[HostAddress]:
        """The addresses, those of the preferred family in rotation. Raises the error of the lookup."""
        addresses = self.addresses
        if not addresses:
            error = self.error or TimeoutError()
            raise type(error)(*error.args)  # a copy: many threads may raise it
        if len(addresses) == 1:
            return addresses
        same_family = sum(1 for _ in takewhile(lambda address: address.family == addresses[0].family, addresses))
        turn = self.turn % same_family
        self.turn = turn + 1
        return addresses[turn:same_family] + addresses[:turn] + addresses[same_family:]


def literal(host: str) -> HostAddress | None:
    """The address of an address literal, in any spelling that a resolver accepts without a server; None for a name.

    Brackets around an IPv6 address are removed. Its zone is the number or the name of an interface (RFC 4007 §11); an
    address with an unknown zone is looked up, which fails.
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
    """The addresses of the name from the system's resolver, in its order. Blocks. Raises OSError and UnicodeError."""
    infos = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    addresses = [
        HostAddress(family, str(address[0]).partition("%")[0], int(address[3]) if len(address) > 3 else 0)
        for family, _, _, _, address in infos
        if family in (socket.AF_INET, socket.AF_INET6)
    ]
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "no address in IPv4 or IPv6")
    return tuple(dict.fromkeys(addresses))


def _is_definite(error: Exception | None) -> bool:
    """Whether the failure proves that the name has no address; else no server answered."""
    return not isinstance(error, OSError) or (isinstance(error, socket.gaierror) and error.errno in _DEFINITE)


class SystemResolver:
    """Finds the addresses of hosts. Threads and greenlets may share it.

    `lookup` returns the addresses of a name, may block, and raises the errors of `resolved`; `clock` returns seconds of
    a monotonic clock.
    """

    def __init__(
        self,
        lookup: Callable[[str], Sequence[HostAddress]] = resolved,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolve = lookup
        self._clock = clock
        self._hosts: dict[str, _NameRecord] = {}
        self._queue: deque[_NameRecord] = deque()
        self._running = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<SystemResolver hosts={len(self._hosts)} queued={len(self._queue)} threads={self._running}>"

    def find(self, host: str, timeout: float) -> Sequence[HostAddress]:
        """The addresses of the host, at least one, in the order of the attempts to connect.

        Raises TimeoutError when none is known within `timeout` seconds from the start of the lookup; OSError;
        UnicodeError for a name that is invalid in DNS.
        """
        record = self._record(host)
        if record.expires > self._clock():
            return record.answer()
        lookup, seconds = self._join_lookup(record, timeout)
        with suppress(TimeoutError):
            lookup.result(seconds)
        return record.answer()

    async def find_async(self, host: str, timeout: float) -> Sequence[HostAddress]:
        """As `find`, in an event loop."""
        record = self._record(host)
        if record.expires > self._clock():
            return record.answer()
        lookup, seconds = self._join_lookup(record, timeout)
        waiting = asyncio.wrap_future(lookup)
        try:
            await asyncio.wait([waiting], timeout=seconds)
        finally:
            waiting.cancel()  # the lookup goes on
        return record.answer()

    def _record(self, host: str) -> _NameRecord:
        record = self._hosts.get(host)
        if record is None:
            record = _NameRecord(host)
            address = literal(host)
            if address is not None:
                record.addresses, record.expires = (address,), float("inf")
            if len(self._hosts) >= MAX_HOSTS:
                self._hosts.clear()
            self._hosts[host] = record
        return record

    def _join_lookup(self, host: _NameRecord, timeout: float) -> tuple[Future[None], float]:
        """The lookup in progress, which is started if there is none, and how many seconds to wait for it."""
        now = self._clock()
        with self._lock:
            lookup = host.lookup
            if lookup is None:
                lookup = host.lookup = Future()
                lookup.set_running_or_notify_cancel()  # so that no waiter can cancel it
                host.began = now
                if not host.addresses:
                    host.error = None
                self._queue.append(host)
                starts = self._running < MAX_LOOKUPS
                self._running += starts
            else:
                starts = False
        if starts:
            try:
                start_thread(self._run, "names")
            except OSError as error:
                self._give_up(error)
        return lookup, max(0.0, host.began + (RENEWAL_TIMEOUT if host.addresses else timeout) - now)

    def _give_up(self, error: OSError) -> None:
        """A thread could not be started. If no other is running, the queued lookups fail."""
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
        """The addresses of the name, or the error."""
        try:
            return self._resolve(name), None
        except RuntimeError as error:  # gevent starts native threads for lookups
            return (), NoThread(errno.EAGAIN, str(error))
        except Exception as error:  # noqa: BLE001 - OSError, UnicodeError, ValueError: raised in each waiter
            return (), error

    def _settle(self, host: _NameRecord, addresses: Sequence[HostAddress], error: Exception | None) -> None:
        """Store the outcome of a lookup, and wake its waiters."""
        now = self._clock()
        with self._lock:
            if addresses:
                host.addresses, host.error, host.learned, host.expires = tuple(addresses), None, now, now + VALID_FOR
            else:
                if _is_definite(error) or now - host.learned > STALE_FOR:
                    host.addresses = ()
                host.error = error
                # a shortage of this process is not cached
                host.expires = now if error is not None and resource_of(error) else now + RETRY_AFTER
            lookup, host.lookup = host.lookup, None
        if lookup is not None:
            lookup.set_result(None)
