"""Checks a configuration for what each worker would only detect at its start: code, libraries and files that it names.

Checks load that code, so they run in a process that serves nothing: the command line, or a child of gunicorn's master.
The master imports this module with its settings, so the adapters are imported late: they load `redis`, and
`server/shared_modules.py` handles what gevent patches in it.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lbflask.config.admin_address import AdminAddress
from lbflask.config.certificates import expiry_warnings
from lbflask.config.field_types import socket_address
from lbflask.config.load import ConfigError, place_of
from lbflask.config.passed_sockets import is_passed, objection, passed_sockets
from lbflask.config.redaction import masked
from lbflask.config.schema import Config
from lbflask.core.discovery import SourceCause
from lbflask.discovery.source import DiscoveryFailure
from lbflask.telemetry.access_log import unwritable
from lbflask.telemetry.nonblocking_writer import check_writable


def check(config: Config, environ: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError, with place, setting and reason, for the first part that a worker could not use here."""
    with _placed(environ):
        try:
            if config.access_log:
                check_writable(config.access_log)
        except (OSError, ValueError) as error:
            raise ConfigError(unwritable(config.access_log, error)) from None
        config.tls.check("tls")
        config.backend_tls.check("backend_tls")
        for name in config.pools:
            config.traffic(name).backend_tls.check(f"pools.{name}.backend_tls")
        _load_code(config, tracing=bool(config.tracing.endpoint))


def check_for_checker(config: Config, environ: Mapping[str, str] = os.environ) -> None:
    """As `check`, for a checker."""
    with _placed(environ):
        _load_code(config, tracing=False)


def check_discovery(config: Config, environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Read the discovery files as the checker does. Yields a warning for each missing file and each ignored backend.

    Raises ConfigError for an unusable file.
    """
    from lbflask.wiring.adapters import source_for  # noqa: PLC0415

    admin = AdminAddress(config.admin_bind)
    for name, table in config.every_pool().items():
        where, source = table.discovery.where(), source_for(table)
        if where is None or source is None or where.kind != "file":
            continue
        key = "discovery.source" if table is config else f"pools.{name}.discovery.source"
        place = f"{place_of(key, environ)}: {key} = {str(table.discovery.source)!r}"
        try:
            found = asyncio.run(source.ask()).found
        except DiscoveryFailure as reason:
            if reason.cause is SourceCause.MISSING:
                yield f"{place}: {reason}; no backends are found until it is there"
                continue
            raise ConfigError(masked(f"{place}: {reason}")) from None
        ignored = (one.backend.url for one in found if admin.is_backend(one.backend))
        yield from (f"{place}: {url} is the admin listener, {config.admin_bind!r}, and is ignored" for url in ignored)


def check_expiries(config: Config, environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yields a warning, with its place, for each certificate that has expired or will expire soon."""
    for line in expiry_warnings(config, time.time()):
        yield f"{place_of(line.partition(' = ')[0], environ)}: {line}"


def check_unix_sockets(config: Config, environ: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError, with place and setting, for a unix socket that cannot be created."""
    with _placed(environ):
        for key, address in _addresses(config):
            if socket_address(address) in [one.address for one in passed_sockets()]:
                continue  # it is there already
            reason = _obstacle(address)
            if reason:
                raise ConfigError(f"{key} = {address!r}: {reason}")


def check_passed_sockets(config: Config, environ: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError, with place and setting, for a listener whose socket systemd has not passed to this process,
    and, if listeners name sockets, for a socket that none of them has.
    """
    passed = passed_sockets()
    with _placed(environ):
        names_them = False
        for key, bind in _addresses(config):
            if is_passed(bind):
                if reason := objection(bind, passed):
                    raise ConfigError(f"{key} = {bind!r}: {reason}")
                names_them = True
        known = {socket_address(bind) for _, bind in _addresses(config)}
        for one in passed if names_them else ():
            if one.address not in known:
                raise ConfigError(
                    f"listeners: systemd passes {one} too: write [[listeners]] bind = 'fd://{one.number}'"
                )
        for number, listener in enumerate(config.listeners):
            if listener.socket_mode and socket_address(listener.bind) in [one.address for one in passed]:
                mode = listener.socket_mode
                raise ConfigError(
                    f"listeners[{number}].socket_mode = {mode!r}: systemd opens {listener.bind!r}; leave it out, and "
                    f"write SocketMode={mode} into its unit"
                )


def _addresses(config: Config) -> list[tuple[str, str]]:
    """The addresses of all listeners, by setting."""
    public = [(f"listeners[{n}].bind" if config.listeners else "bind", one) for n, one in enumerate(config.addresses)]
    return [*public, ("admin_bind", config.admin_bind)]


@contextmanager
def _placed(environ: Mapping[str, str]) -> Iterator[None]:
    """Put the place of a setting before an error that begins with the name of the setting."""
    try:
        yield
    except (ConfigError, ValueError) as error:
        key = re.split(" = |: ", str(error), maxsplit=1)[0]
        raise ConfigError(masked(f"{place_of(key, environ)}: {error}")) from None


def _load_code(config: Config, *, tracing: bool) -> None:
    """Load what a worker or a checker loads at its start. Raises ConfigError."""
    has_options = config.redis_url and any(sign in config.redis_url for sign in "?@")  # else its form was checked
    if config.tls.acme.domains:
        from lbflask.wiring.certificate_storage import storage_for  # noqa: PLC0415 - an optional extra

        storage_for(config)
    if not (config.hooks or has_options or tracing):
        return
    from lbflask.wiring import adapters  # noqa: PLC0415

    hooks = adapters.hooks_for(config)
    if hooks is not None:
        hooks.stop()
    if has_options:
        adapters.store_for(config).close()
    sink = adapters.tracing_for(config) if tracing else None
    if sink is not None:
        adapters.start_tracing(sink)
        sink.stop()


def _obstacle(address: str) -> str:
    """Why the socket cannot be created; empty if it can, or for another kind of address."""
    if not address.startswith("unix:"):
        return ""
    path = Path(address.removeprefix("unix:"))
    try:
        path.parent.stat()
        if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
            return "is there already, and no socket"
    except (OSError, ValueError) as error:
        return f"cannot be made: {getattr(error, 'strerror', None) or error}"
    return "" if os.access(path.parent, os.W_OK | os.X_OK) else f"cannot be made: {path.parent} is not writable"
