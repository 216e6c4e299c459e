"""The companion of a balancer: a process that runs the checker beside it, restarts it, and ends it after the balancer.

gunicorn's master and its workers hold one end of a pipe to the companion, which reads its end when the last of them has
ended, in whatever way; an upgraded master (USR2) inherits it. gunicorn's master remains the process that was started,
so that signals and exit codes are its own. It is in another session than the companion, so that Ctrl-C reaches only
the master.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence

#: Names the descriptors that a master holds: the one that keeps the companion running, and the one that shows its end.
VARIABLE = "_LBFLASK_COMPANION"
#: Seconds until a checker that has ended starts again: the first time, and at most. They double while it keeps ending.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
#: Seconds after which a checker counts as started well.
WELL_AFTER = 60.0
#: Seconds for the checker to end, above its own limit (healthcheck.py), until it is killed; and for the companion.
STOP_WITHIN, END_WITHIN = 10.0, 12.0


def start(checker: Sequence[str]) -> None:
    """Start the companion, which runs this command. The program that this process executes next is the balancer."""
    watched, held = os.pipe()
    ended, ends = os.pipe()
    command = (sys.executable, "-m", __name__, str(watched), *checker)
    subprocess.Popen(command, pass_fds=(watched, ends), stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - our own
    os.close(watched)
    os.close(ends)
    for descriptor in (held, ended):
        os.set_inheritable(descriptor, True)
    os.environ[VARIABLE] = f"{held},{ended}"


def end(*, wait: bool) -> None:
    """Release the companion of this process, if it has one, and wait for its end."""
    names = os.environ.pop(VARIABLE, "")
    if not names:
        return
    held, ended = map(int, names.split(","))
    os.close(held)
    if wait:
        select.select([ended], [], [], END_WITHIN)


async def _run(watched: int, command: Sequence[str]) -> None:
    """Keep a checker running until the balancer has ended, or until a signal."""
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()

    def balancer_has_ended() -> None:
        loop.remove_reader(watched)
        ending.set()

    loop.add_reader(watched, balancer_has_ended)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    over = asyncio.create_task(ending.wait())
    pause = FIRST_PAUSE
    while not ending.is_set():
        started = loop.time()
        checker = await asyncio.create_subprocess_exec(*command)
        exited = asyncio.create_task(checker.wait())
        await asyncio.wait((over, exited), return_when=asyncio.FIRST_COMPLETED)
        if ending.is_set():
            await _stop(checker, exited)
            return
        if loop.time() - started > WELL_AFTER:
            pause = FIRST_PAUSE
        print(f"lbflask: {_ended(exited.result())}; it starts again in {pause:g} s", file=sys.stderr, flush=True)  # noqa: T201 - it has no log
        await asyncio.wait((over,), timeout=pause)
        pause = min(2 * pause, LONGEST_PAUSE)


async def _stop(checker: asyncio.subprocess.Process, exited: asyncio.Task[int]) -> None:
    if not exited.done():
        checker.terminate()
        await asyncio.wait((exited,), timeout=STOP_WITHIN)
    if not exited.done():
        checker.kill()
        await exited


def _ended(code: int) -> str:
    return f"the checker ended by signal {-code}" if code < 0 else f"the checker ended with exit code {code}"


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), sys.argv[2:]))
