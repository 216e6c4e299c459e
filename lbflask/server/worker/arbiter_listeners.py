"""The listeners of gunicorn's master at a reload that changes their addresses."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from gunicorn import sock, util

from lbflask.server.worker.arbiter_signals import BadSettings, read_settings
from lbflask.server.worker.arbiter_startup import address_text, bound_address


def replace_listeners(arbiter: Any) -> None:
    """Open listeners at the new addresses in gunicorn's settings, close those at addresses that are gone, keep others.

    gunicorn's own reload closes all of them, fails to open one again that the old workers hold, and exits. Raises
    BadSettings, and changes nothing, for an address that cannot be opened.
    """
    settings = read_settings(arbiter)
    if settings.address == arbiter.cfg.address:
        return
    held = {address: _at(address, arbiter.LISTENERS) for address in settings.address}
    if arbiter.cfg.reuse_port:  # each worker opens its own listeners: the master only tries whether it could
        new = [address for address in settings.address if address not in arbiter.cfg.address]
        for listener in _opened(new, settings, arbiter.log):
            _close(listener)
    else:
        opened = _opened([address for address, listener in held.items() if listener is None], settings, arbiter.log)
        kept = [listener for listener in held.values() if listener is not None]
        for listener in arbiter.LISTENERS:
            if listener not in kept:
                _close(listener, unlink=not (arbiter.master_pid or arbiter.reexec_pid))  # another master may serve it
        arbiter.LISTENERS = [*kept, *opened]
        arbiter.log.info("Listening at: %s", ",".join(map(str, arbiter.LISTENERS)))
    # The reload finds no other addresses, and leaves the listeners alone.
    arbiter.cfg.set("bind", settings.settings["bind"].get())


def _opened(addresses: list[Any], settings: Any, log: Any) -> list[Any]:
    """Listeners at all these addresses. Raises BadSettings, and leaves none, for one that cannot be opened."""
    opened: list[Any] = []
    for address in sorted(addresses, key=lambda address: not isinstance(address, tuple)):
        umask = os.umask(0)
        os.umask(umask)
        try:
            if not isinstance(address, tuple) and _answers(address):
                raise OSError("another process listens there")
            opened.append(_class_for(address)(address, settings, log))
        except (OSError, ValueError) as error:
            os.umask(umask)  # gunicorn leaves that of the socket
            for listener in opened:
                _close(listener)
            raise BadSettings(f"bind: no listener can be opened at {address_text(address)}: {error}") from None
    return opened


def _answers(path: str) -> bool:
    """Whether a process accepts connections at this unix socket, whose file gunicorn would replace."""
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.setblocking(False)  # a full backlog is EAGAIN
        try:
            probe.connect(path)
        except BlockingIOError:
            pass
        return True
    return False


def _close(listener: Any, *, unlink: bool = True) -> None:
    """Close it, and remove the file of a unix socket."""
    name = listener.getsockname()
    listener.close()
    if unlink and isinstance(name, str) and name.startswith("/"):
        Path(name).unlink(missing_ok=True)


def _at(address: Any, listeners: list[Any]) -> Any:
    """The listener at this address; an inherited one has it only in the form of `getsockname`."""
    for listener in listeners:
        if address == listener.cfg_addr or bound_address(listener) in address_forms(address):
            return listener
    return None


def address_forms(address: Any) -> list[Any]:
    """The forms in which the system may name the address of a listener."""
    if not isinstance(address, tuple):
        return [address, os.path.realpath(address)]
    with suppress(OSError):
        found = socket.getaddrinfo(address[0], address[1], type=socket.SOCK_STREAM)
        return [address, *(sockaddr[:2] for *_, sockaddr in found)]
    return [address]


def _class_for(address: Any) -> type:
    if not isinstance(address, tuple):
        return sock.UnixSocket  # type: ignore[no-any-return]
    return sock.TCP6Socket if util.is_ipv6(address[0]) else sock.TCPSocket  # type: ignore[no-any-return]
