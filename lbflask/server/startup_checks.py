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
from lbflask.config.passed_sockets import passed_sockets
from lbflask.config.schema import Config
from lbflask.server.listener_options import listener_options
from lbflask.server.worker.arbiter_startup import address_text, is_supported, run_in_child, source_of
from lbflask.server.worker.proxy_worker import ProxyWorker
from lbflask.server.worker.settings import request_parser
from lbflask.wiring import preflight

#: What is wrong with listeners of both kinds on gunicorn's own workers.
_MIXED = (
    "gunicorn's own workers have TLS on all listeners or on none, and [[listeners]] has both; leave the worker class "
    "out, which means lbflask.worker.ProxyWorker, or set the same tls in all [[listeners]]"
)
#: What is wrong with settings that only lbflask's worker has.
_ONLY_OURS = (
    "gunicorn's own workers do not have {key}; leave the worker class out, which means lbflask.worker.ProxyWorker, "
    "or leave out this key"
)
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
    check_overlap(config, bound)
    known = listener_options(config)
    unknown = [address_text(address) for address in bound if address not in known]
    if config.listeners and unknown:
        raise ConfigError(
            f"listeners: gunicorn listens at {unknown[0]}, which is the bind of none; it has the address from its "
            "command line or from systemd: write [[listeners]] with this bind"
        )
    if not config.admin_bind:
        return ""
    if cfg.settings["bind"].get() != derived:
        reason = f"bind is set {source_of(cfg, 'bind')}"
    elif config.admin_bind not in derived:
        reason = "another process has the address; set LBFLASK_ADMIN_BIND"
    else:
        reason = "gunicorn has inherited its sockets"
    are_public = [connection_address(config.admin_bind) != address for address in bound]
    if all(are_public):
        return f"no admin listener at {config.admin_bind}: {reason}"
    return "" if any(are_public) else f"no public listener at {', '.join(config.addresses)}: {reason}"


def check_admin_tls(cfg: Any, config: Config) -> str:
    """A warning if the admin listener, which has no TLS, gets that of the public listeners; else empty.

    gunicorn's own workers have TLS on all listeners or on none.
    """
    host, has_port, port = config.admin_bind.rpartition(":")
    if not (cfg.is_ssl and has_port and host != "unix") or issubclass(cfg.worker_class, ProxyWorker):
        return ""
    return (
        f"admin_bind = {config.admin_bind!r} has TLS, as all listeners of this worker class: give commands "
        f"`--url https://NAME:{port}` with a name in the certificate"
    )


def check_overlap(config: Config, addresses: list[Any]) -> None:
    """Raises ConfigError if connections to a listener at one of the addresses could not be distinguished from those to
    the admin listener.
    """
    admin = socket_address(config.admin_bind) if config.admin_bind else None
    for address in addresses:
        if _overlap(admin, address):
            raise ConfigError(
                f"the public listener at {address_text(address)} is admin_bind = {config.admin_bind!r} too"
            )


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
    if cfg.reuse_port and passed_sockets():
        yield "reuse_port", True, "each worker would open its own listeners, and systemd passes open ones; leave it out"
    if cfg.reuse_port and any(one.socket_mode for one in config.listeners):
        yield "reuse_port", True, "each worker would open its own listeners, without socket_mode; leave it out"
    if objection := _objection(cfg, config):
        yield "worker_class", cfg.settings["worker_class"].get(), objection
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


def check_worker_class(cfg: Any, config: Config) -> None:
    """Raises ConfigError for settings that gunicorn's own workers do not have, where they serve."""
    if objection := _objection(cfg, config):
        raise ConfigError(objection)


def _objection(cfg: Any, config: Config) -> str:
    """Why the workers cannot serve by the configuration; empty if they can."""
    listeners = config.every_listener()
    if issubclass(cfg.worker_class, ProxyWorker):
        return ""
    if len({listener.tls for listener in listeners}) > 1:
        return _MIXED
    if any(one.passes_on for one in listeners):
        return _ONLY_OURS.format(key="tcp and sni of [[listeners]]")
    if any(one.client_certificates for one in listeners):
        return _ONLY_OURS.format(key="client_certificates of [[listeners]]")
    if any(one.proxy_protocol for one in listeners):
        return _ONLY_OURS.format(key="proxy_protocol of [[listeners]]")
    if any(pool.proxy_protocol for pool in config.every_pool().values()):
        return _ONLY_OURS.format(key="proxy_protocol of pools")
    return ""


def _loses_its_file(directory: Path) -> bool:
    file = Path(os.environ.get("LBFLASK_CONFIG") or DEFAULT_FILE)
    if file.is_absolute() or directory.resolve() == _STARTED_IN.resolve():
        return False
    return any((at / file).exists() for at in (_STARTED_IN, directory))


def _overlap(admin: Any, address: Any) -> bool:
    """Whether connections to two different listeners can have the same local address."""
    if admin == address or not isinstance(admin, tuple) or not isinstance(address, tuple) or admin[1] != address[1]:
        return False
    return any(_is_unspecified(host.partition("%")[0]) for host, _ in (admin, address))


def _is_unspecified(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:  # a name
        return False
