"""The decision whether this gunicorn opens the admin listener."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection
from contextlib import closing, suppress
from functools import cache

from lbflask.config.field_types import socket_address
from lbflask.config.passed_sockets import passed_sockets
from lbflask.config.schema import Config


def admin_bind(config: Config, before: Collection[str] | None) -> list[str]:
    """The admin listener for gunicorn's setting `bind`, unless its default address is in use by another instance on
    this machine. `before` is the value of the setting at the start, None during it.

    This is decided once for an address: afterwards this gunicorn itself may have it.
    """
    bind = config.admin_bind
    if not bind:
        return []
    if "admin_bind" in config.model_fields_set:
        return [bind]
    return [bind] if (before is not None and bind in before) or _is_available(bind) else []


@cache
def _is_available(bind: str) -> bool:
    return _is_inherited(bind) or not _is_in_use(bind)


def _is_inherited(bind: str) -> bool:
    """Whether systemd, or the old master of an upgrade (SIGUSR2), has passed on a listener at this address."""
    if any(one.address == socket_address(bind) for one in passed_sockets()):
        return True
    for descriptor in filter(None, os.environ.get("GUNICORN_FD", "").split(",")):
        with suppress(OSError, ValueError), closing(socket.fromfd(int(descriptor), -1, -1)) as inherited:
            if inherited.getsockname() == socket_address(bind):
                return True
    return False


def _is_in_use(bind: str) -> bool:
    host, _, port = bind.rpartition(":")
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, int(port)))
        return False
    return True
