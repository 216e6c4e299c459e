"""The start of gunicorn's master and its workers, and how it is ended before they serve."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty
from typing import Any

from gunicorn import sock, util
from gunicorn.errors import HaltServer

from lbflask.server.worker.proxy_worker import ProxyWorker

#: Signals that end a process.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
#: Seconds that a trial may take.
CHILD_TIMEOUT = 10.0
#: Seconds between two looks whether it is still wanted.
POLL_INTERVAL = 0.05
#: gunicorn's workers on which the application runs, by name: to import some of them would start what gevent must patch.
STOCK_WORKERS = {"ggevent.GeventWorker", "gthread.ThreadWorker", "sync.SyncWorker"}


def is_supported(worker_class: type) -> bool:
    """Whether the application runs on this kind of worker: ours, or gunicorn's gevent, gthread or sync."""
    name = f"{worker_class.__module__}.{worker_class.__qualname__}"
    return name.removeprefix("gunicorn.workers.") in STOCK_WORKERS or issubclass(worker_class, ProxyWorker)


def source_of(cfg: Any, name: str) -> str:
    """Where one of gunicorn's settings comes from that is not its default."""
    parser = cfg.parser()
    if getattr(parser.parse_args(), name, None) is not None:
        return "on gunicorn's command line"
    if getattr(parser.parse_args(cfg.get_cmd_args_from_env()), name, None) is not None:
        return "in GUNICORN_CMD_ARGS"
    return "in gunicorn's configuration file"


def addresses(arbiter: Any) -> list[Any]:
    """What the listeners are bound to, as `getsockname` has it; with `reuse_port` each worker opens them by itself."""
    if arbiter.LISTENERS:
        names = [listener.getsockname() for listener in arbiter.LISTENERS]
        return [name[:2] if isinstance(name, tuple) else name for name in names]
    return list(arbiter.cfg.address)


def exit_children_that_boot() -> None:
    """From now on a child that this process forks ends at once by a signal that ends, until it has handlers of its own.

    The handlers that it inherits only put the signal into a queue which nothing reads there. Signals are held back
    during the fork, so that none meets those handlers in the child.
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
    """Meanwhile a signal that ends does so at once. For a worker that loads its application: it serves nothing yet."""
    before = {number: signal.signal(number, _exit) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_ending(arbiter: Any) -> bool:
    """Whether a signal that ends waits for the master, which is busy."""
    waiting = []
    with suppress(Empty):
        while True:
            waiting.append(arbiter.SIG_QUEUE.get_nowait())
    for number in waiting:
        arbiter.SIG_QUEUE.put_nowait(number)
    return any(number in ENDING for number in waiting)


def halt_once(arbiter: Any) -> None:
    """Make the master's end one: a second worker that could not boot, reaped meanwhile, would break it off."""
    halt, reap = arbiter.halt, arbiter.reap_workers

    def reap_all() -> None:
        with suppress(HaltServer):
            reap()

    def halting(reason: str | None = None, exit_status: int = 0) -> None:
        arbiter.reap_workers = reap_all
        halt(reason, exit_status)

    arbiter.halt = halting


def undo_startup(arbiter: Any) -> None:
    """Take back what a master has made before it has workers."""
    sock.close_sockets(arbiter.LISTENERS, unlink=not arbiter.systemd and not arbiter.master_pid)
    arbiter.LISTENERS = []
    if arbiter.pidfile is not None:
        arbiter.pidfile.unlink()


def run_in_child(cfg: Any, attempt: Callable[[], str], is_over: Callable[[], bool]) -> str:
    """What `attempt` answers in a process of its own with a worker's rights; empty if it comes to no answer.

    It is given ten seconds, or until `is_over`.
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
