"""Which errors mean a shortage of this process or its machine, rather than a failure of the peer of a socket."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from lbflask.core.faults import Resource, Shortage, Stage

#: By errno, of sockets and files. EAGAIN is from connect(2) when no port is free, never from a blocking socket; for a
#: unix socket it means that the backlog of the peer is full, which `dialer` and `health_probe` handle before.
_RESOURCES = {
    errno.EMFILE: Resource.DESCRIPTORS,
    errno.ENFILE: Resource.DESCRIPTORS,
    errno.ENOSPC: Resource.DESCRIPTORS,  # epoll_ctl(2): the limit of watches per user
    errno.ENOBUFS: Resource.MEMORY,
    errno.ENOMEM: Resource.MEMORY,
    errno.ENOSR: Resource.MEMORY,
    errno.EADDRNOTAVAIL: Resource.PORTS,
    errno.EADDRINUSE: Resource.PORTS,
    errno.EAGAIN: Resource.PORTS,
    errno.ENETDOWN: Resource.NETWORK,
}


class NoThread(OSError):
    """No thread can be started."""


def resource_of(error: BaseException) -> Resource | None:
    """The resource whose shortage made an operation on a socket, a file or a thread fail; None for other errors."""
    if isinstance(error, MemoryError):
        return Resource.MEMORY
    if isinstance(error, NoThread):
        return Resource.THREADS
    if isinstance(error, socket.gaierror):  # its numbers are not those of errno
        return Resource.MEMORY if error.errno == socket.EAI_MEMORY else None
    if isinstance(error, ssl.SSLError):  # the same
        return Resource.MEMORY if "MALLOC" in (getattr(error, "reason", None) or "") else None
    return _RESOURCES.get(error.errno or 0) if isinstance(error, OSError) else None


def shortage(error: BaseException, stage: Stage) -> Shortage | None:
    """The error as a Shortage; None for other errors."""
    resource = resource_of(error)
    if resource is None:
        return None
    reason = (getattr(error, "strerror", None) or str(error) or "out of memory").lower()
    return Shortage(stage, resource, f"this process is short of {resource}: {reason}")


def start_thread(target: Callable[..., object], name: str, *arguments: Any) -> threading.Thread:
    """Start a daemon thread. Raises NoThread."""
    thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise NoThread(errno.EAGAIN, str(error)) from None
    return thread
