"""The sockets of listeners as the configuration has them: those that systemd passes, and the modes of unix sockets."""

from __future__ import annotations

import os
from typing import Any

from lbflask.config.field_types import socket_address
from lbflask.config.passed_sockets import OWNER, is_passed, passed_sockets
from lbflask.config.schema import Config
from lbflask.server.worker import arbiter_listeners, arbiter_startup


def public_binds(config: Config) -> list[str]:
    """The public listeners in gunicorn's setting `bind`: a passed socket has its address there, and none where it is
    unknown.
    """
    pairs = [(bind, socket_address(bind)) for bind in config.addresses]
    return [
        arbiter_startup.address_text(address) if is_passed(bind) else bind
        for bind, address in pairs
        if address is not None
    ]


def open_at_start(arbiter: Any, config: Config) -> None:
    """Open the listeners before gunicorn would, where it would not open them so."""
    passed = passed_numbers()
    os.environ.pop(OWNER, None)  # gunicorn would take all passed sockets, and nothing else
    names_them = any(map(is_passed, config.addresses))
    arbiter_listeners.open_listeners(arbiter, passed, modes(config), only_passed=bool(passed) and not names_them)


def pass_on(arbiter: Any) -> None:
    """Let a new master (SIGUSR2) find the passed sockets: it has the environment, and the number of this process."""
    if passed_sockets():
        os.environ[OWNER] = str(os.getpid())
        arbiter_startup.pass_on_at_upgrade(arbiter, OWNER)


def undo_start(arbiter: Any) -> None:
    """Close the listeners of a master that has no workers yet, and remove the files that it has made."""
    arbiter_listeners.release_passed(arbiter, passed_numbers())
    arbiter_startup.undo_startup(arbiter)


def replace(arbiter: Any, config: Config) -> None:
    """At a reload: the listeners of this configuration. Raises BadSettings, and changes nothing."""
    arbiter_listeners.replace_listeners(arbiter, passed_numbers(), modes(config))


def set_changed_modes(arbiter: Any, before: Config, after: Config) -> None:
    """At a reload: sockets that stay get the modes that have changed."""
    old, new, usual = modes(before), modes(after), 0o777 & ~arbiter.cfg.umask
    stay = {one for one in map(socket_address, (*before.addresses, before.admin_bind)) if isinstance(one, str)}
    stay &= {one for one in map(socket_address, (*after.addresses, after.admin_bind)) if isinstance(one, str)}
    changed = {path: new.get(path, usual) for path in stay if old.get(path) != new.get(path)}
    arbiter_listeners.set_modes(changed, arbiter.log)


def passed_numbers() -> dict[Any, int]:
    """The descriptors of passed sockets, by address."""
    return {one.address: one.number for one in passed_sockets() if one.address is not None}


def modes(config: Config) -> dict[str, int]:
    """The modes of unix sockets, by path."""
    given = {listener.bind: listener.socket_mode for listener in config.listeners}
    given[config.admin_bind] = config.admin.socket_mode
    paths = {socket_address(bind): mode for bind, mode in given.items() if mode}
    return {path: int(mode, 8) for path, mode in paths.items() if isinstance(path, str)}
