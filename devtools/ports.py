"""TCP ports for servers of tests, each given out once in a process and among the processes of the machine."""

from __future__ import annotations

import fcntl
import itertools
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

#: Below the ports that the kernel gives to outgoing connections: one of those could take the port while its server is
#: being restarted, or even connect to itself there (ip(7), ip_local_port_range).
PORTS = range(15_000, 32_000)


@cache
def _reservations() -> int:
    """A file whose n-th byte is locked by the process that has reserved port n (fcntl(2), record locks).

    The kernel drops the locks with the process, or when any descriptor of the file is closed: this one stays open.
    """
    file = Path(tempfile.gettempdir()) / f"lbflask-test-ports-{os.getuid()}"
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


@cache
def _candidates() -> Iterator[int]:
    """All ports in turn, from a random start."""
    first = random.randrange(len(PORTS))
    return itertools.cycle([*PORTS[first:], *PORTS[:first]])


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on. It stays reserved for this process until that ends."""
    for port in _candidates():
        with suppress(OSError), socket.socket() as probe:
            fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("unreachable")


@contextmanager
def reserved(*ports: int) -> Iterator[None]:
    """Reserve these ports for the length of a block, after the end of any other process that has reserved one."""
    for port in ports:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX, 1, port)
    try:
        yield
    finally:
        for port in ports:
            fcntl.lockf(_reservations(), fcntl.LOCK_UN, 1, port)
