"""gunicorn's settings, derived from lbflask's configuration, and its server hooks. Used by gunicorn.conf.py.

The master imports this module whenever it reads its settings, so it loads neither Flask, `requests` nor `redis`:
`server/shared_modules.py` loads those once, with care for gevent's patches.
"""

from __future__ import annotations

import logging
import math
import os
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from lbflask.config import load
from lbflask.config.certificate_pair import CertificatePair, UnusablePair
from lbflask.config.certificates import expiry_warnings
from lbflask.config.load import ConfigError
from lbflask.config.schema import Config
from lbflask.fleet.shared_turns import MAX_POOLS, SPARE_POOLS, SharedTurns
from lbflask.server import companion, listener_sockets, server_name_errors
from lbflask.server.admin_listener import admin_bind
from lbflask.server.certificates import Certificates
from lbflask.server.expected_workers import ExpectedWorkers
from lbflask.server.listener_options import plain_addresses
from lbflask.server.reload import ReloadCoordinator
from lbflask.server.shared_modules import SharedModules, collector_off, share_objects
from lbflask.server.startup_checks import check_admin_tls, check_listeners, check_parts, check_settings
from lbflask.server.worker import arbiter_startup, stock_error_page
from lbflask.server.worker.arbiter_termination import ShutdownNotice, Termination
from lbflask.server.worker.proxy_worker import ProxyWorker
from lbflask.server.worker.server_log import ServerLog
from lbflask.server.worker.settings import request_parser
from lbflask.server.worker.tls_context import INHERITED_CONTEXT, stock_context
from lbflask.server.worker_port import WorkerPort
from lbflask.startup_failure import refuse
from lbflask.store.embedded import EmbeddedServer, NoServer, runtime_directory
from lbflask.telemetry import error_log
from lbflask.telemetry.metrics import shared_directory
from lbflask.telemetry.metrics.shared_directory import SharedDirectory
from lbflask.telemetry.standard_streams import open_standard_streams
from lbflask.upstream.resolver import MAX_LOOKUPS
from lbflask.wiring import descriptor_limit
from lbflask.wiring.preflight import check_passed_sockets, check_unix_sockets
from lbflask.wiring.server_port import ServerPort

if TYPE_CHECKING:
    from lbflask.proxy.data_plane import DataPlane

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
    turns: SharedTurns | None = None
    arbiter: Any = None
    reload: ReloadCoordinator | None = None
    notice: ShutdownNotice = field(default_factory=ShutdownNotice)
    expected: ExpectedWorkers = field(default_factory=ExpectedWorkers)
    modules: SharedModules = field(default_factory=SharedModules)
    port: WorkerPort | None = None
    certificates: Certificates | None = None
    certificates_key: object = None  # what a new front context follows from


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
    ServerLog.set_listeners(config.admin_bind, plain_addresses(config))
    ServerLog.set_change(partial(error_log.configure, config.error_log_format, threads=False))
    return {
        "bind": [
            *listener_sockets.public_binds(config),
            *admin_bind(config, _state.settings and _state.settings["bind"]),
        ],
        # gunicorn has TLS if there is one; which certificates are used is up to `Certificates`.
        "certfile": _certificate_file(config),
        "keyfile": None,
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
        "nworkers_changed": nworkers_changed,
        "post_worker_init": post_worker_init,
        "worker_exit": worker_exit,
        "on_exit": on_exit,
    }


def _certificate_file(config: Config) -> str | None:
    """A file that gunicorn finds where there is TLS: automatic certificates have none."""
    return next((pair.certificate for pair in config.tls.pairs()), os.devnull if config.tls.sources else None)


def ssl_context(settings: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """The TLS context of the configuration. Without one it is that of gunicorn's settings, with HTTP/1.1 in ALPN (RFC
    7301).
    """
    certificates = _certificates(settings)
    if certificates is not None:
        return certificates.front
    context = default()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _certificates(cfg: Any) -> Certificates | None:
    """The certificates of the configuration; None without any. Raises UnusablePair."""
    tls = load.current().tls
    if not tls.sources:
        _state.certificates = None
        return None
    hook = cfg.settings["ssl_context"].get()
    key = None if hook is ssl_context else id(cfg), tls.minimum
    if _state.certificates is None or _state.certificates_key != key:
        adjust = _unadjusted if hook is ssl_context else partial(hook, cfg)
        _state.certificates, _state.certificates_key = Certificates(tls, adjust, _issued()), key
    return _state.certificates


def _issued() -> list[CertificatePair]:
    """The certificates that an authority has issued to this machine, or what serves until it does."""
    config = load.current()
    if not config.tls.acme.domains:
        return []
    from lbflask.wiring.certificate_storage import issued_pairs, storage_for  # noqa: PLC0415 - an optional extra

    records, copy = storage_for(config)
    return issued_pairs(records.state(copy.read()), config)


def _unadjusted(make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    return make()


def _front_context(cfg: Any) -> ssl.SSLContext:
    """The TLS context of our own workers. A hook `ssl_context` of the user's file adjusts each context that is made.

    Raises OSError or ValueError.
    """
    certificates = _certificates(cfg)
    context: ssl.SSLContext = stock_context(cfg) if certificates is None else certificates.front
    return context


def on_starting(arbiter: Any) -> None:
    """Before the listeners are opened: end a start that could not succeed, with one line. Open some of them."""
    config = load.current()
    try:
        check_settings(arbiter.cfg, config)
        check_passed_sockets(config)
        check_unix_sockets(config)
        check_parts(arbiter.cfg, config)
    except ConfigError as error:
        listener_sockets.undo_start(arbiter)
        refuse(error)
    listener_sockets.open_at_start(arbiter, config)
    _state.checked = True


def when_ready(arbiter: Any) -> None:
    """The listeners are open, no worker runs yet: start the private server if no store is configured."""
    if not _state.checked:  # the user's configuration file has replaced the hook on_starting
        on_starting(arbiter)
    Termination(arbiter, _state.notice, _shutdown_delay)
    stock_error_page.install()
    INHERITED_CONTEXT.set_make(_front_context)
    arbiter_startup.exit_children_that_boot()
    arbiter_startup.halt_once(arbiter)
    arbiter_startup.upgrade_by_same_command(arbiter)
    listener_sockets.pass_on(arbiter)
    _state.arbiter = arbiter
    config = load.current()
    derived = _settings_of(config)
    try:
        _state.metrics = SharedDirectory(arbiter.cfg.uid, arbiter.cfg.gid)
        arbiter_startup.pass_on_at_upgrade(arbiter, shared_directory.VARIABLE)
    except OSError as error:
        log.warning("each worker has metrics of its own: %s", error)
    try:
        _state.turns = SharedTurns(min(MAX_POOLS, len(config.every_pool()) + SPARE_POOLS))
    except OSError as error:
        log.warning("each worker has turns of its own: %s", error)
    try:
        missing = check_listeners(arbiter.cfg, config, derived["bind"], arbiter_startup.addresses(arbiter))
        _provide_store(config)
    except ConfigError as error:
        on_exit(arbiter)
        listener_sockets.undo_start(arbiter)
        if arbiter_startup.is_ending(arbiter):
            sys.exit(0)
        refuse(error)
    for line in filter(None, (missing, check_admin_tls(arbiter.cfg, config), *expiry_warnings(config, time.time()))):
        log.warning(line)
    log.info(_PARSERS[request_parser(arbiter.cfg)])
    _state.reload = ReloadCoordinator(arbiter, derived, _prepare, _adopt)
    if not arbiter.cfg.reload:  # whose workers load changed code anew
        _state.modules.load()
    share_objects()


def nworkers_changed(_: Any, number: int, __: int | None) -> None:
    """The number of workers to run has changed: at the start, after SIGTTIN, SIGTTOU or a reload."""
    _state.expected.set_number(number)


def _shutdown_delay() -> float:
    """By the configuration in effect, in seconds."""
    return 0.0 if _state.reload is None else _state.reload.config.timeouts.shutdown_delay


def _prepare(config: Config) -> None:
    """Prepare the start of new workers with this configuration. Raises ConfigError, and changes nothing."""
    _provide_store(config)
    installed = sys.modules.get("lbflask.gunicorn_conf")
    if installed is not None:
        vars(installed).update(_settings_of(config))


def _adopt(config: Config) -> None:
    """The configuration is in effect: workers that are forked from now on inherit it, with its certificates."""
    load.adopt(config)
    certificates = _state.certificates
    if certificates is not None and config.tls.sources:
        with suppress(UnusablePair):  # its workers try again, and log the reason
            certificates.apply_config(config.tls)
            certificates.refresh()


@contextmanager
def loading() -> Iterator[ServerPort | None]:
    """While the application is loaded: a worker ends at once at a signal that ends. Yields the port of its application.

    None in the master, which loads the application only to check it.
    """
    if _state.reload is None:
        yield None
        return
    _state.expected.set_number(_state.arbiter.num_workers)  # the user's file may have replaced the hook
    _state.port = WorkerPort(
        master=_state.arbiter.pid,
        worker_class=_state.arbiter.worker_class,
        request_parser=request_parser(_state.arbiter.cfg),
        shared_config=_state.reload.shared_config,
        notice=_state.notice,
        metrics_directory=None if _state.metrics is None else _state.metrics.path,
        expected=_state.expected,
        turns=_state.turns,
    )
    _state.modules.take_anew()
    with collector_off(), arbiter_startup.exiting_at_once():
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
    server_name_errors.leave_out_of_log()
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
        _state.port.serve(worker, plane, config, _watchable_certificates(worker))
    except ConfigError as error:
        refuse(error)


def _watchable_certificates(worker: Any) -> Certificates | None:
    """The certificates that the worker presents. None without any, and for a worker of gunicorn whose context the hook
    of the user's file makes for each connection.
    """
    is_stock = not issubclass(type(worker), ProxyWorker)
    if is_stock and worker.cfg.settings["ssl_context"].get() is not ssl_context:
        return None
    try:
        return _certificates(worker.cfg)
    except UnusablePair as error:
        refuse(f"tls: {error}")


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
