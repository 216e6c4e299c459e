"""Processes that a run of pytest has started, found by a mark in the environment that all of them inherit.

A mark reaches what process groups and parents do not: a worker whose gunicorn was killed, a store in a session of its
own, a browser. `mark_children` sets it in a process that runs or distributes tests, and starts a reaper, a process that
kills all that carries the mark as soon as that process has ended, in whatever way. Linux only, as is all of /proc.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: The variable of the environment. Its value is the pids of the processes that mark, outermost first, with commas.
MARK = "TESTS_RUN_BY"


@dataclass(frozen=True, slots=True)
class Leftover:
    """A running process with the mark."""

    pid: int
    command: str

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def mark_children() -> None:
    """Mark what this process starts from now on, and have it killed when this process has ended.

    The reaper carries no mark, and has a session of its own: Ctrl-C on the terminal does not reach it.
    """
    outer = os.environ.pop(MARK, "")
    os.posix_spawn(sys.executable, [sys.executable, "-SE", __file__, str(os.getpid())], os.environ, setsid=True)
    os.environ[MARK] = f"{outer},{os.getpid()}".lstrip(",")


def leftovers(runner: int) -> list[Leftover]:
    """What runs and carries the mark of the process `runner`. One that has ended and was not waited for is none."""
    name, pid = f"{MARK}=".encode(), str(runner).encode()
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # ended meanwhile, or another user's
            variables = (directory / "environ").read_bytes().split(b"\0")
            if any(one.startswith(name) and pid in one[len(name) :].split(b",") for one in variables):
                command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                found.append(Leftover(int(directory.name), command))
    return found


def reap(runner: int) -> None:
    """Wait for the end of the process `runner`, then kill until nothing is left: a process may fork as it is killed."""
    with suppress(ProcessLookupError):
        select.select([os.pidfd_open(runner)], [], [])
    while found := leftovers(runner):
        for one in found:
            one.kill()
        time.sleep(0.05)


if __name__ == "__main__":
    reap(int(sys.argv[1]))
