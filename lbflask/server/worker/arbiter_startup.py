"""The start of gunicorn's master and workers, and its end before they serve."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from queue import Empty
from typing import Any

from gevent import get_hub
from gunicorn import sock, util
from gunicorn.errors import HaltServer
from gunicorn.workers.ggevent import GeventWorker

from lbflask.server.worker.proxy_worker import ProxyWorker

#: Signals that end a process.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
#: Seconds that a child process of `run_in_child` may take.
CHILD_TIMEOUT = 10.0
#: Seconds between two checks whether its result is still wanted.
POLL_INTERVAL = 0.05
#: Seconds that new workers may take until they serve; after them the old ones end all the same.
BOOT_TIMEOUT = 30.0
#: gunicorn's supported workers, by name: importing some of them loads modules that gevent must patch first.
STOCK_WORKERS = {"ggevent.GeventWorker", "gthread.ThreadWorker", "sync.SyncWorker"}
#: The modules of `gevent.monkey.patch_all()`, and of the hub that each worker starts.
_PATCHES = (
    "os", "time", "thread", "threading", "socket", "select", "selectors", "ssl", "subprocess", "queue", "signal",
    "events", "threadpool", "resolver.thread",
)  # fmt: skip


def is_supported(worker_class: type) -> bool:
    """Whether the application runs on this worker class: ours, or gunicorn's gevent, gthread or sync."""
    name = f"{worker_class.__module__}.{worker_class.__qualname__}"
    return name.removeprefix("gunicorn.workers.") in STOCK_WORKERS or issubclass(worker_class, ProxyWorker)


def source_of(cfg: Any, name: str) -> str:
    """The source of a gunicorn setting that differs from its default."""
    parser = cfg.parser()
    if getattr(parser.parse_args(), name, None) is not None:
        return "on gunicorn's command line"
    if getattr(parser.parse_args(cfg.get_cmd_args_from_env()), name, None) is not None:
        return "in GUNICORN_CMD_ARGS"
    return "in gunicorn's configuration file"


def addresses(arbiter: Any) -> list[Any]:
    """The addresses of the listeners in the form of `getsockname`; with `reuse_port` each worker opens its own."""
    return [bound_address(listener) for listener in arbiter.LISTENERS] or list(arbiter.cfg.address)


def bound_address(listener: Any) -> Any:
    """Host and port of a listener, or the path of its unix socket."""
    name = listener.getsockname()
    return name[:2] if isinstance(name, tuple) else name


def address_text(address: Any) -> str:
    """An address as in the setting `bind`."""
    if not isinstance(address, tuple):
        return f"unix:{address}"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def exit_children_that_boot() -> None:
    """Children that are forked from now on exit at once at a signal in ENDING, until they set handlers of their own.

    The inherited handlers would put the signal into a queue that nothing reads in the child. The signals are blocked
    during the fork, so that none reaches those handlers.
    """
    master = os.getpid()

    def hold() -> None:
        if os.getpid() == master:
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)

    def release() -> None:
        if os.getpid() == master:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def begin() -> None:
        if os.getppid() == master:
            for number in ENDING:
                signal.signal(number, _exit)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=begin)


@contextmanager
def exiting_at_once() -> Iterator[None]:
    """Signals in ENDING exit at once meanwhile: for a worker that loads its application, and serves nothing yet."""
    before = {number: signal.signal(number, _exit) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_ending(arbiter: Any) -> bool:
    """Whether a signal in ENDING is queued while the master is busy."""
    waiting = []
    with suppress(Empty):
        while True:
            waiting.append(arbiter.SIG_QUEUE.get_nowait())
    for number in waiting:
        arbiter.SIG_QUEUE.put_nowait(number)
    return any(number in ENDING for number in waiting)


def halt_once(arbiter: Any) -> None:
    """Ignore further workers that fail to boot while the master halts: reaping one would abort the halt."""
    halt, reap = arbiter.halt, arbiter.reap_workers

    def reap_all() -> None:
        with suppress(HaltServer):
            reap()

    def halting(reason: str | None = None, exit_status: int = 0) -> None:
        arbiter.reap_workers = reap_all
        halt(reason, exit_status)

    arbiter.halt = halting


@contextmanager
def ending_old_workers_late(arbiter: Any) -> Iterator[None]:
    """A reload of gunicorn that is under way meanwhile ends the old workers when the new ones serve. By itself it ends
    them at once, and connections wait in the backlog until the new ones have loaded the application.
    """
    manage_workers, before = arbiter.manage_workers, arbiter.worker_age

    def manage_later() -> None:
        arbiter.manage_workers = manage_workers
        _await_workers(arbiter, before)
        manage_workers()

    arbiter.manage_workers = manage_later
    try:
        yield
    finally:
        arbiter.manage_workers = manage_workers


def _await_workers(arbiter: Any, age: int) -> None:
    """Wait until all workers younger than `age` serve, at most BOOT_TIMEOUT seconds or until gunicorn is to end. One
    that dies is not waited for.
    """
    deadline = time.monotonic() + BOOT_TIMEOUT
    while time.monotonic() < deadline and not is_ending(arbiter):
        arbiter.reap_workers()
        # The file of a worker has the time of day when it is created, and from the first turn of its loop on the time
        # of the steady clock, which is far behind that.
        started = [
            worker.tmp.last_update() <= time.monotonic() for worker in arbiter.WORKERS.values() if worker.age > age
        ]
        if all(started):
            return
        time.sleep(POLL_INTERVAL)


def load_patches() -> None:
    """Load the modules of gevent's patches, and patch nothing: workers share them.

    At the end of a process, modules go in the reverse order of their import, so those that use what is patched are to
    be loaded later.
    """
    for module in _PATCHES:
        import_module(f"gevent.{module}")


def has_greenlets(worker_class: type) -> bool:
    """Whether requests of the worker are greenlets, which all wait while one computes."""
    return issubclass(worker_class, GeventWorker)


def allow_lookups(worker: Any, count: int) -> None:
    """Allow a gevent worker `count` concurrent name lookups. The hub has ten threads by default, shared by all blocking
    calls; they start when needed.
    """
    if isinstance(worker, GeventWorker):
        get_hub().threadpool.maxsize += count


def upgrade_by_same_command(arbiter: Any) -> None:
    """Make SIGUSR2 repeat the command of this process. gunicorn's own attempt at it loses `-m` and other options of
    Python: under `python -m gunicorn` its package `http` would then hide that of Python.
    """
    arbiter.START_CTX["args"] = [sys.executable, *sys.orig_argv[1:]]


def pass_on_at_upgrade(arbiter: Any, variable: str) -> None:
    """Give the environment variable to the master that SIGUSR2 starts; gunicorn gives it those of its start only."""
    if variable in os.environ:
        arbiter.cfg.env_orig[variable] = os.environ[variable]


def undo_startup(arbiter: Any) -> None:
    """Close the listeners and remove the pid file of a master that has no workers yet."""
    sock.close_sockets(arbiter.LISTENERS, unlink=not arbiter.systemd and not arbiter.master_pid)
    arbiter.LISTENERS = []
    if arbiter.pidfile is not None:
        arbiter.pidfile.unlink()


def run_in_child(cfg: Any, attempt: Callable[[], str], is_over: Callable[[], bool]) -> str:
    """The result of `attempt` in a child process with the rights of a worker; empty if there is none.

    The child is killed after CHILD_TIMEOUT seconds, or when `is_over` returns True.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _run_child(cfg, attempt, writing)
    os.close(writing)
    deadline, answer = time.monotonic() + CHILD_TIMEOUT, b""
    while time.monotonic() < deadline and not is_over():
        if select.select([reading], [], [], POLL_INTERVAL)[0]:
            piece = os.read(reading, 1 << 16)
            if not piece:
                break
            answer += piece
    os.close(reading)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(child, 0)
    return answer.decode()


def _run_child(cfg: Any, attempt: Callable[[], str], writing: int) -> None:
    parent = os.getppid()

    def exit_if_orphaned(_signal: int, _frame: Any) -> None:
        if os.getppid() != parent:
            os._exit(0)

    try:
        signal.signal(signal.SIGALRM, exit_if_orphaned)
        signal.setitimer(signal.ITIMER_REAL, POLL_INTERVAL, POLL_INTERVAL)
        util.set_owner_process(cfg.uid, cfg.gid, initgroups=cfg.initgroups)
        os.write(writing, attempt().encode("utf-8", "backslashreplace"))
    finally:
        os._exit(0)


def _exit(_signal: int, _frame: Any) -> None:
    os._exit(0)
