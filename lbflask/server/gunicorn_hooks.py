"""gunicorn's settings, derived from lbflask's configuration, and its server hooks. Used by gunicorn.conf.py.

The master imports this module, so it must load neither `requests` nor `redis`: gevent patches a worker after the fork,
and modules that have imported sockets before would stay unpatched.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from lbflask.config import load
from lbflask.config.load import ConfigError
from lbflask.config.schema import Config
from lbflask.server import companion
from lbflask.server.reload import ReloadCoordinator
from lbflask.server.startup_checks import check_listeners, check_parts, check_settings
from lbflask.server.worker import arbiter_startup
from lbflask.server.worker.arbiter_termination import ShutdownNotice, Termination
from lbflask.server.worker.server_log import ServerLog
from lbflask.server.worker.settings import request_parser
from lbflask.server.worker_port import WorkerPort
from lbflask.startup_failure import refuse
from lbflask.store.embedded import EmbeddedServer, NoServer, runtime_directory
from lbflask.telemetry import error_log
from lbflask.telemetry.metrics.shared_directory import SharedDirectory
from lbflask.telemetry.standard_streams import open_standard_streams
from lbflask.upstream.resolver import MAX_LOOKUPS
from lbflask.wiring import descriptor_limit
from lbflask.wiring.preflight import check_unix_sockets
from lbflask.wiring.server_port import ServerPort

if TYPE_CHECKING:
    from lbflask.proxy.app import DataPlane

log = logging.getLogger("gunicorn.error")

#: The line at the start about the parser of request heads.
_PARSERS = {
    "fast": "request heads are parsed in C (gunicorn_h1c)",
    "python": "request heads are parsed in Python; `pip install 'lbflask[fast]'` brings the parser in C",
}


@dataclass
class _State:
    """What the hooks of one gunicorn share. `port` is set in workers only, all else by the master before it forks."""

    settings: dict[str, Any] | None = None
    checked: bool = False
    embedded: EmbeddedServer | None = None
    metrics: SharedDirectory | None = None
    arbiter: Any = None
    reload: ReloadCoordinator | None = None
    notice: ShutdownNotice = field(default_factory=ShutdownNotice)
    port: WorkerPort | None = None


_state = _State()


def gunicorn_settings() -> dict[str, Any]:
    """All settings, for gunicorn.conf.py. gunicorn reads them again at each SIGHUP, and so does reload.py.

    A configuration with an error ends the start with one line; at a reload it changes nothing, and the line is logged.
    """
    open_standard_streams()
    if _state.reload is not None:
        return _settings_of(_state.reload.config)
    try:
        config = load.reload()
    except ConfigError as error:
        if _state.settings is None:
            refuse(error)
        log.error("the configuration was not reloaded: %s", error)
        return _state.settings
    _state.settings = _settings_of(config)
    return _state.settings


def _settings_of(config: Config) -> dict[str, Any]:
    limits = config.limits
    ServerLog.set_change(partial(error_log.configure, config.error_log_format, threads=False))
    return {
        "bind": [*config.bind, *_admin_bind(config)],
        "certfile": config.tls.certificate or None,
        "keyfile": config.tls.key or None,
        "ssl_context": ssl_context,
        "worker_class": "lbflask.worker.ProxyWorker",
        # Client connections of a worker; each costs a greenlet and two small buffers.
        "worker_connections": 10_000,
        "backlog": 2048,
        # Longer than the idle time-outs of clients and of balancers in front, so that they close first.
        "keepalive": 75,
        "graceful_timeout": math.ceil(config.timeouts.graceful) + 1,
        "timeout": 60,
        "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,  # noqa: S108, PTH112 - a heartbeat on disk may block
        "http_parser": "auto",  # the one in C if it is installed
        "limit_request_line": limits.line,
        "limit_request_fields": limits.fields,
        "limit_request_field_size": limits.field_size,
        "permit_unconventional_http_method": True,  # any token is a method (RFC 9110 §9.1)
        # Only trusted_proxies decides whose forwarding fields are trusted.
        "forwarder_headers": "",
        "secure_scheme_headers": {},
        "control_socket_disable": True,  # two instances would use the same path
        "logger_class": ServerLog,
        "accesslog": None,  # lbflask's own names the backend and each attempt
        "on_starting": on_starting,
        "when_ready": when_ready,
        "post_worker_init": post_worker_init,
        "worker_exit": worker_exit,
        "on_exit": on_exit,
    }


def ssl_context(_settings: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Gunicorn's TLS settings for clients, with HTTP/1.1 in ALPN (RFC 7301)."""
    context = default()
    context.set_alpn_protocols(["http/1.1"])
    return context


def on_starting(arbiter: Any) -> None:
    """Before the listeners are opened: end a start that could not succeed, with one line."""
    config = load.current()
    try:
        check_settings(arbiter.cfg, config)
        check_unix_sockets(config)
        check_parts(arbiter.cfg, config)
    except ConfigError as error:
        arbiter_startup.undo_startup(arbiter)
        refuse(error)
    _state.checked = True


def when_ready(arbiter: Any) -> None:
    """The listeners are open, no worker runs yet: start the private server if no store is configured."""
    if not _state.checked:  # the user's configuration file has replaced the hook on_starting
        on_starting(arbiter)
    Termination(arbiter, _state.notice, _shutdown_delay)
    arbiter_startup.exit_children_that_boot()
    arbiter_startup.halt_once(arbiter)
    arbiter_startup.upgrade_by_same_command(arbiter)
    _state.arbiter = arbiter
    config = load.current()
    derived = _settings_of(config)
    try:
        _state.metrics = SharedDirectory(arbiter.cfg.uid, arbiter.cfg.gid)
    except OSError as error:
        log.warning("each worker has metrics of its own: %s", error)
    try:
        missing = check_listeners(arbiter.cfg, config, derived["bind"], arbiter_startup.addresses(arbiter))
        _provide_store(config)
    except ConfigError as error:
        on_exit(arbiter)
        arbiter_startup.undo_startup(arbiter)
        if arbiter_startup.is_ending(arbiter):
            sys.exit(0)
        refuse(error)
    if missing:
        log.warning(missing)
    log.info(_PARSERS[request_parser(arbiter.cfg)])
    _state.reload = ReloadCoordinator(arbiter, derived, _prepare)


def _shutdown_delay() -> float:
    """By the configuration in effect, in seconds."""
    return 0.0 if _state.reload is None else _state.reload.config.timeouts.shutdown_delay


def _prepare(config: Config) -> None:
    """Prepare the start of new workers with this configuration. Raises ConfigError, and changes nothing."""
    _provide_store(config)
    installed = sys.modules.get("lbflask.gunicorn_conf")
    if installed is not None:
        vars(installed).update(_settings_of(config))


@contextmanager
def loading() -> Iterator[ServerPort | None]:
    """While the application is loaded: a worker ends at once at a signal that ends. Yields the port of its application.

    None in the master, which loads the application only to check it.
    """
    if _state.reload is None:
        yield None
        return
    _state.port = WorkerPort(
        master=_state.arbiter.pid,
        worker_class=_state.arbiter.worker_class,
        request_parser=request_parser(_state.arbiter.cfg),
        shared_config=_state.reload.shared_config,
        notice=_state.notice,
        metrics_directory=None if _state.metrics is None else _state.metrics.path,
    )
    with arbiter_startup.exiting_at_once():
        yield _state.port


def _provide_store(config: Config) -> None:
    """Start the private server if no store is configured, once. Raises ConfigError, also when gunicorn is ending."""
    if config.redis_url is not None or _state.embedded is not None:
        return
    server = EmbeddedServer(runtime_directory())
    try:
        started = server.start(partial(arbiter_startup.is_ending, _state.arbiter))
    except NoServer as error:
        raise ConfigError(str(error)) from None
    _state.embedded = server
    log.info("%s the private Valkey at %s", "started" if started else "joined", server.socket)


def post_worker_init(worker: Any) -> None:
    """The application is loaded: start its background work before the first request."""
    config = load.current()
    error_log.configure(config.error_log_format)
    _limit_clients(worker)
    plane = _plane_of(worker)
    if plane is None:
        refuse("gunicorn runs another application with lbflask's settings; it has to be lbflask.wsgi itself")
    if _state.port is None:
        refuse(
            "the hook when_ready in gunicorn's configuration file must call "
            "lbflask.server.gunicorn_hooks.when_ready(server)"
        )
    arbiter_startup.allow_lookups(worker, MAX_LOOKUPS)
    try:
        _state.port.serve(worker, plane, config)
    except ConfigError as error:
        refuse(error)


def _limit_clients(worker: Any) -> None:
    """Limit the clients to the descriptors that there are: one for each, and one for its upstream connection."""
    wanted = getattr(worker, "worker_connections", None)  # gunicorn's sync worker serves one client at a time
    if wanted is None:
        return
    worker.worker_connections = room = descriptor_limit.room_for(wanted, each=2)
    if room < wanted:
        message = "at most %d clients at once, not %d (worker_connections): the limit of open files (ulimit -n) is %d"
        log.warning(message, room, wanted, descriptor_limit.limit())
    else:
        log.info("at most %d clients at once, by worker_connections", room)


def _plane_of(worker: Any) -> DataPlane | None:
    """The data plane of the application that the worker has loaded; None if it is not lbflask's."""
    plane: DataPlane | None = getattr(worker.app.callable, "extensions", {}).get("lbflask")
    return plane


def worker_exit(_arbiter: Any, worker: Any) -> None:
    """The worker has served its last request."""
    plane = _plane_of(worker)
    if plane is not None:
        plane.lifecycle.stop()
    error_log.shut_down()


def on_exit(arbiter: Any) -> None:
    """All workers have ended: end the checker beside them, unless another master has taken over or remains, and the
    private server last.
    """
    companion.end(wait=not (arbiter.reexec_pid or arbiter.master_pid))
    if _state.metrics is not None:
        _state.metrics.remove()
    if _state.embedded is not None:
        _state.embedded.stop()


def _admin_bind(config: Config) -> list[str]:
    """The admin listener, unless its default address is in use by another instance on this machine."""
    bind = config.admin_bind
    if not bind:
        return []
    if "admin_bind" in config.model_fields_set:
        return [bind]
    if _state.settings is not None:  # a reload keeps the decision of the start: by now this gunicorn has the address
        return [bind] if bind in _state.settings["bind"] else []
    return [] if _is_in_use(bind) else [bind]


def _is_in_use(bind: str) -> bool:
    host, _, port = bind.rpartition(":")
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, int(port)))
        return False
    return True
