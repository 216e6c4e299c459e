"""Checks before a listener is open or a worker runs.

Two kinds of errors end a start: gunicorn settings with which lbflask would start but not work, and parts of lbflask's
own configuration that would make each new worker fail, again and again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from lbflask.config.field_types import connection_address, socket_address
from lbflask.config.load import DEFAULT_FILE, PREFIX, ConfigError
from lbflask.config.schema import Config
from lbflask.server.worker.arbiter_startup import is_supported, run_in_child, source_of
from lbflask.server.worker.settings import request_parser
from lbflask.wiring import preflight

#: Working directory in which the configuration was read.
_STARTED_IN = Path.cwd()


def check_settings(cfg: Any, config: Config) -> None:
    """Raises ConfigError, with name, value and source, for a gunicorn setting with which lbflask cannot work."""
    for name, value, reason in _unusable(cfg, config):
        raise ConfigError(f"{name} = {value!r} {source_of(cfg, name)}: {reason}")


def check_parts(cfg: Any, config: Config, is_over: Callable[[], bool] = lambda: False) -> None:
    """Raises ConfigError for parts that a worker with these gunicorn settings could not use.

    A child process checks them; it is killed when `is_over` returns True.
    """
    reason = run_in_child(cfg, partial(_reason_against, config), is_over)
    if reason:
        raise ConfigError(reason)


def check_listeners(cfg: Any, config: Config, derived: list[str], bound: list[Any]) -> str:
    """A warning about a configured listener that gunicorn has not bound; empty if it has bound all.

    `derived` is the setting `bind` that follows from the configuration. Raises ConfigError if connections to a public
    listener could not be distinguished from those to the admin listener.
    """
    if not config.admin_bind:
        return ""
    admin = socket_address(config.admin_bind)
    for address in bound:
        if _overlap(admin, address):
            raise ConfigError(f"the public listener at {_shown(address)} is admin_bind = {config.admin_bind!r} too")
    if cfg.settings["bind"].get() != derived:
        reason = f"bind is set {source_of(cfg, 'bind')}"
    elif config.admin_bind not in derived:
        reason = "another process has the address; set LBFLASK_ADMIN_BIND"
    else:
        reason = "gunicorn has inherited its sockets"
    are_public = [connection_address(config.admin_bind) != address for address in bound]
    if all(are_public):
        return f"no admin listener at {config.admin_bind}: {reason}"
    return "" if any(are_public) else f"no public listener at {', '.join(config.bind)}: {reason}"


def _reason_against(config: Config) -> str:
    try:
        preflight.check(config)
    except ConfigError as error:
        return str(error)
    return ""


def _unusable(cfg: Any, config: Config) -> Iterator[tuple[str, Any, str]]:
    if cfg.preload_app:
        yield "preload_app", True, "each worker loads lbflask by itself, after gevent has patched it; leave it out"
    if not is_supported(cfg.worker_class):
        worker = cfg.settings["worker_class"].get()
        yield "worker_class", worker, "lbflask runs on lbflask.worker.ProxyWorker, gevent, gthread and sync"
    if cfg.protocol != "http":
        yield "protocol", cfg.protocol, "lbflask understands http"
    try:
        request_parser(cfg)
    except RuntimeError as error:
        yield "http_parser", cfg.http_parser, str(error)
    if cfg.worker_tmp_dir is not None and not Path(cfg.worker_tmp_dir).is_dir():
        yield "worker_tmp_dir", cfg.worker_tmp_dir, "is no directory"
    ours = [pair for pair in cfg.settings["raw_env"].get() if pair.startswith(PREFIX)]
    if ours:
        yield "raw_env", ours[0].partition("=")[0], "is set too late for lbflask; put it into gunicorn's environment"
    if config.redis_url is None and cfg.uid and cfg.uid != os.geteuid():
        yield "user", cfg.settings["user"].get(), "the private Valkey is another user's; set redis_url, or start as it"
    if _loses_its_file(Path(cfg.chdir)):
        reason = "lbflask's configuration would be sought there; set LBFLASK_CONFIG to its whole path"
        yield "chdir", cfg.chdir, reason


def _loses_its_file(directory: Path) -> bool:
    file = Path(os.environ.get("LBFLASK_CONFIG") or DEFAULT_FILE)
    if file.is_absolute() or directory.resolve() == _STARTED_IN.resolve():
        return False
    return any((at / file).exists() for at in (_STARTED_IN, directory))


def _overlap(admin: Any, address: Any) -> bool:
    """Whether connections to two different listeners can have the same local address."""
    if admin == address or not isinstance(admin, tuple) or not isinstance(address, tuple) or admin[1] != address[1]:
        return False
    return any(ip_address(host.partition("%")[0]).is_unspecified for host, _ in (admin, address))


def _shown(address: Any) -> str:
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else f"unix:{address}"
