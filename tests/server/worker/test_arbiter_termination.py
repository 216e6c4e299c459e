"""SIGTERM and SIGINT to a master, with a double of gunicorn's arbiter; e2e/test_draining.py has the real one."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from devtools.wait import PATIENCE
from lbflask.server.worker.arbiter_termination import ShutdownNotice, Termination

NEVER = 600.0


class Arbiter:
    """Its main loop is `handle_all`."""

    log = logging.getLogger("test")

    def __init__(self) -> None:
        self.SIG_QUEUE: SimpleQueue[int] = SimpleQueue()
        self.reexec_pid = self.master_pid = 0
        self.reloads = 0

    def signal(self, number: int, _frame: Any) -> None:
        self.SIG_QUEUE.put_nowait(number)

    def handle_term(self) -> None:
        raise StopIteration

    def handle_hup(self) -> None:
        self.reloads += 1

    def queued(self) -> list[int]:
        found = []
        try:
            while True:
                found.append(self.SIG_QUEUE.get_nowait())
        except Empty:
            return found


@pytest.fixture
def arbiter() -> Iterator[Arbiter]:
    numbers = (signal.SIGINT, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield Arbiter()
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)


Terminate = Callable[[float], ShutdownNotice]


@pytest.fixture
def terminate(arbiter: Arbiter) -> Terminate:
    """Installs a Termination with this delay."""

    def install(delay: float) -> ShutdownNotice:
        notice = ShutdownNotice()
        Termination(arbiter, notice, lambda: delay)
        return notice

    return install


def test_the_first_interrupt_is_a_graceful_stop_and_the_second_gunicorns_own(
    arbiter: Arbiter, terminate: Terminate
) -> None:
    notice = terminate(NEVER)
    signal.raise_signal(signal.SIGINT)
    assert arbiter.queued() == [signal.SIGTERM]
    with pytest.raises(StopIteration):
        arbiter.handle_term()
    assert not notice.is_given
    signal.raise_signal(signal.SIGINT)
    assert arbiter.queued() == [signal.SIGINT]


def test_without_a_delay_sigterm_stops_at_once(arbiter: Arbiter, terminate: Terminate) -> None:
    notice = terminate(0)
    with pytest.raises(StopIteration):
        arbiter.handle_term()
    assert not notice.is_given


def test_the_notice_reaches_forked_processes_and_the_stop_follows(arbiter: Arbiter, terminate: Terminate) -> None:
    notice = terminate(0.01)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.read(reading, 1)
        os._exit(notice.is_given)
    arbiter.handle_term()
    os.write(writing, b"!")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    os.close(reading)
    os.close(writing)
    assert arbiter.SIG_QUEUE.get(timeout=PATIENCE) == signal.SIGTERM
    with pytest.raises(StopIteration):
        arbiter.handle_term()


def test_during_the_delay_a_reload_is_refused_and_another_sigterm_ignored(
    arbiter: Arbiter, terminate: Terminate
) -> None:
    terminate(NEVER)
    arbiter.handle_hup()
    arbiter.handle_term()
    arbiter.handle_term()
    arbiter.handle_hup()
    assert arbiter.reloads == 1


@pytest.mark.parametrize(("which", "pid"), [("reexec_pid", 7), ("master_pid", os.getppid())])
def test_neither_master_of_an_upgrade_waits_since_the_other_serves(
    which: str, pid: int, arbiter: Arbiter, terminate: Terminate
) -> None:
    notice = terminate(NEVER)
    setattr(arbiter, which, pid)
    with pytest.raises(StopIteration):
        arbiter.handle_term()
    assert not notice.is_given


def test_a_master_whose_predecessor_has_ended_waits(arbiter: Arbiter, terminate: Terminate) -> None:
    notice = terminate(NEVER)
    arbiter.master_pid = os.getpid()
    arbiter.handle_term()
    assert notice.is_given


def test_systemd_is_notified_of_the_new_master(
    arbiter: Arbiter, terminate: Terminate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(PATIENCE)
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        terminate(0)
        arbiter.reexec_pid = 7
        with pytest.raises(StopIteration):
            arbiter.handle_term()
        assert manager.recv(100) == b"MAINPID=7"
