"""The listeners of gunicorn's master: at a start that gunicorn alone would not manage, at a reload that changes their
addresses, and at the end.

gunicorn serves all sockets that systemd passes (sd_listen_fds(3)) and opens none beside them; it loses their numbers,
so that a master after SIGUSR2 does not find them, and it has one mode for all unix sockets.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gunicorn import sock, util

from lbflask.server.worker.arbiter_signals import BadSettings, read_settings
from lbflask.server.worker.arbiter_startup import address_text, bound_address


class _Permissions:
    """gunicorn's settings, with the addresses of one listener, and with the mode of its file in place of `umask`."""

    def __init__(self, settings: Any, address: list[Any], mode: int | None) -> None:
        self._settings = settings
        self.address = address
        self.umask = settings.umask if mode is None else 0o777 & ~mode

    def __getattr__(self, name: str) -> Any:
        return getattr(self._settings, name)


def open_listeners(
    arbiter: Any, passed: Mapping[Any, int], modes: Mapping[str, int], *, only_passed: bool = False
) -> None:
    """Open those of a start in place of gunicorn: `passed` sockets, by address, at the addresses that they have, others
    with the mode that `modes` has for their path. With `only_passed` all passed sockets, and no others.

    Passed descriptors stay open beside the listeners, so that they keep their numbers. The listeners of an old master
    are gunicorn's matter, and so are plain ones.
    """
    if passed:
        _leave_files_of(arbiter, passed)
    if not (passed or modes) or arbiter.LISTENERS or arbiter.master_pid:
        return
    for address in passed if only_passed else arbiter.cfg.address:
        number = _number_at(address, passed)
        settings = _Permissions(arbiter.cfg, [] if number is not None else [address], modes.get(address))
        copies = None if number is None else [os.dup(number)]
        arbiter.LISTENERS = [*arbiter.LISTENERS, *sock.create_sockets(settings, arbiter.log, copies)]


def release_passed(arbiter: Any, passed: Mapping[Any, int]) -> None:
    """Close the listeners that are passed sockets. gunicorn would remove the files of those that it closes itself."""
    for listener in arbiter.LISTENERS:
        if _number_at(bound_address(listener), passed) is not None:
            listener.close()
    arbiter.LISTENERS = [listener for listener in arbiter.LISTENERS if listener.sock is not None]


def set_modes(modes: Mapping[str, int], log: Any) -> None:
    """Give the files of unix sockets, by path, these modes."""
    for path, mode in modes.items():
        try:
            Path(path).chmod(mode)
        except OSError as error:
            log.error("the mode of %s can't be set: %s", path, error.strerror)


def _leave_files_of(arbiter: Any, passed: Mapping[Any, int]) -> None:
    stop = arbiter.stop

    def stopping(graceful: bool = True) -> None:
        release_passed(arbiter, passed)
        stop(graceful)

    arbiter.stop = stopping


def _number_at(address: Any, passed: Mapping[Any, int]) -> int | None:
    return next((passed[form] for form in address_forms(address) if form in passed), None) if passed else None


def replace_listeners(arbiter: Any, passed: Mapping[Any, int], modes: Mapping[str, int]) -> None:
    """Open listeners at the new addresses in gunicorn's settings, close those at addresses that are gone, keep others.
    Passed sockets and modes are those of `open_listeners`.

    gunicorn's own reload closes all of them, fails to open one again that the old workers hold, and exits. Raises
    BadSettings, and changes nothing, for an address that cannot be opened.
    """
    settings = read_settings(arbiter)
    if settings.address == arbiter.cfg.address:
        return
    held = {address: _at(address, arbiter.LISTENERS) for address in settings.address}
    if arbiter.cfg.reuse_port:  # each worker opens its own listeners: the master only tries whether it could
        new = [address for address in settings.address if address not in arbiter.cfg.address]
        for listener in _opened(new, settings, arbiter.log, {}, modes):
            _close(listener)
    else:
        new = [address for address, listener in held.items() if listener is None]
        opened = _opened(new, settings, arbiter.log, passed, modes)
        kept = [listener for listener in held.values() if listener is not None]
        for listener in arbiter.LISTENERS:
            if listener not in kept:
                is_ours = _number_at(bound_address(listener), passed) is None
                alone = not (arbiter.master_pid or arbiter.reexec_pid)  # else another master may serve it
                _close(listener, unlink=is_ours and alone)
        arbiter.LISTENERS = [*kept, *opened]
        arbiter.log.info("Listening at: %s", ",".join(map(str, arbiter.LISTENERS)))
    # The reload finds no other addresses, and leaves the listeners alone.
    arbiter.cfg.set("bind", settings.settings["bind"].get())


def _opened(
    addresses: list[Any], settings: Any, log: Any, passed: Mapping[Any, int], modes: Mapping[str, int]
) -> list[Any]:
    """Listeners at all these addresses. Raises BadSettings, and leaves none, for one that cannot be opened."""
    opened: list[Any] = []
    for address in sorted(addresses, key=lambda address: not isinstance(address, tuple)):
        umask = os.umask(0)
        os.umask(umask)
        try:
            number = _number_at(address, passed)
            if number is None and not isinstance(address, tuple) and _answers(address):
                raise OSError("another process listens there")
            permissions = _Permissions(settings, [address], modes.get(address))
            copy = None if number is None else os.dup(number)
            opened.append(_class_for(address)(address, permissions, log, fd=copy))
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
