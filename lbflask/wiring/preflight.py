"""Checks a configuration for what each worker would only detect at its start: code, libraries and files that it names.

Checks load that code, so they run in a process that serves nothing: the command line, or a child of gunicorn's master.
The master imports this module, so the adapters, which load sockets that gevent could not patch, are imported late.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path

from lbflask.config.admin_address import AdminAddress
from lbflask.config.load import ConfigError, place_of
from lbflask.config.redaction import masked
from lbflask.config.schema import Config
from lbflask.discovery.source import DiscoveryFailure
from lbflask.telemetry.access_log import unwritable
from lbflask.telemetry.nonblocking_writer import check_writable


def check(config: Config, environ: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError, with place, setting and reason, for the first part that a worker could not use here."""
    _raise_first(chain(_bad_log(config), _bad_files(config), _bad_code(config, _OF_WORKERS)), environ)


def check_for_checker(config: Config, environ: Mapping[str, str] = os.environ) -> None:
    """As `check`, for a checker."""
    _raise_first(_bad_code(config, _OF_CHECKERS), environ)


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
            if reason.is_missing:
                yield f"{place}: {reason}; no backends are found until it is there"
                continue
            raise ConfigError(masked(f"{place}: {reason}")) from None
        ignored = (one.backend.url for one in found if admin.is_backend(one.backend))
        yield from (f"{place}: {url} is the admin listener, {config.admin_bind!r}, and is ignored" for url in ignored)


def _raise_first(failures: Iterator[tuple[str, object]], environ: Mapping[str, str]) -> None:
    for key, reason in failures:
        raise ConfigError(masked(f"{place_of(key, environ)}: {reason}"))


def _bad_log(config: Config) -> Iterator[tuple[str, object]]:
    """Unusable settings: each key, with a line that begins with it. The generators below yield the same."""
    try:
        if config.access_log:
            check_writable(config.access_log)
    except (OSError, ValueError) as error:
        yield "access_log", unwritable(config.access_log, error)


def _bad_files(config: Config) -> Iterator[tuple[str, object]]:
    for name, section in (("tls", config.tls), ("backend_tls", config.backend_tls)):
        try:
            section.check(name)
        except ValueError as error:
            yield str(error).partition(":")[0], error


def _bad_code(config: Config, parts: Mapping[str, Callable[[Config], None]]) -> Iterator[tuple[str, object]]:
    for key, load in parts.items():
        try:
            load(config)
        except ConfigError as error:
            yield key, error


def check_unix_sockets(config: Config, environ: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError, with place and setting, for a unix socket that cannot be created."""
    for key, addresses in (("bind", config.bind), ("admin_bind", (config.admin_bind,))):
        for address in addresses:
            reason = _obstacle(address)
            if reason:
                raise ConfigError(f"{place_of(key, environ)}: {key} = {address!r}: {reason}")


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


def _load_hooks(config: Config) -> None:
    if config.hooks:
        from lbflask.wiring.adapters import hooks_for  # noqa: PLC0415

        hooks = hooks_for(config)
        if hooks is not None:
            hooks.stop()


def _load_tracing(config: Config) -> None:
    if config.tracing.endpoint:
        from lbflask.wiring.adapters import start_tracing, tracing_for  # noqa: PLC0415

        tracing = tracing_for(config)
        if tracing is not None:
            start_tracing(tracing)
            tracing.stop()


def _load_store(config: Config) -> None:
    if config.redis_url and any(sign in config.redis_url for sign in "?@"):  # otherwise its form was checked
        from lbflask.wiring.adapters import store_for  # noqa: PLC0415

        store_for(config).close()


_OF_CHECKERS = {"hooks": _load_hooks, "redis_url": _load_store}
_OF_WORKERS = {**_OF_CHECKERS, "tracing.endpoint": _load_tracing}
