"""What each worker would only find out as it starts: code, libraries and files that the configuration names.

Loads that code, so it is for a process that serves nothing: the command line, or a child of gunicorn's master.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from itertools import chain

from lbflask.config.admin_address import AdminAddress
from lbflask.config.load import ConfigError, place_of
from lbflask.config.redaction import masked
from lbflask.config.schema import Config
from lbflask.discovery.source import DiscoveryFailure
from lbflask.telemetry.access_log import unwritable
from lbflask.telemetry.nonblocking_writer import check_writable
from lbflask.wiring.adapters import hooks_for, source_for, start_tracing, store_for, tracing_for


def check(config: Config, environ: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError, with the place, the setting and the reason, for the first that a worker here can't use."""
    _raise_first(chain(_bad_log(config), _bad_files(config), _bad_code(config, _OF_WORKERS)), environ)


def check_for_checker(config: Config, environ: Mapping[str, str] = os.environ) -> None:
    """The same for a checker."""
    _raise_first(_bad_code(config, _OF_CHECKERS), environ)


def check_discovery(config: Config, environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Reads the files that name backends, as the checker does. Yields a line for each thing that a checker would go on
    without: a file that is missing, a backend that is ignored. Raises ConfigError for a file that can't be used.
    """
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
    """A setting that can't be used, with a line that begins with the setting; so do those that follow."""
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


def _load_hooks(config: Config) -> None:
    if config.hooks:
        hooks = hooks_for(config)
        if hooks is not None:
            hooks.stop()


def _load_tracing(config: Config) -> None:
    if config.tracing.endpoint:
        tracing = tracing_for(config)
        if tracing is not None:
            start_tracing(tracing)
            tracing.stop()


def _load_store(config: Config) -> None:
    if config.redis_url and any(sign in config.redis_url for sign in "?@"):  # else its form has shown all
        store_for(config).close()


_OF_CHECKERS = {"hooks": _load_hooks, "redis_url": _load_store}
_OF_WORKERS = {**_OF_CHECKERS, "tracing.endpoint": _load_tracing}
