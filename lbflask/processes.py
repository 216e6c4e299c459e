"""The balancer and the checker as processes of this machine: their commands, their start and their end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping

#: Seconds that a process has to stop before it is killed.
SHUTDOWN_GRACE = 45.0
CHECKER = (sys.executable, "-m", "lbflask.healthcheck")


def balancer(options: Iterable[str] = ()) -> list[str]:
    """The command of gunicorn with lbflask's settings and these options, which have precedence over them."""
    return [sys.executable, "-m", "gunicorn", "-c", "python:lbflask.gunicorn_conf", *options, "lbflask.wsgi"]


def start(command: Iterable[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the process in a session of its own, so that Ctrl-C does not reach it."""
    return subprocess.Popen([*command], env=environ, start_new_session=True)  # noqa: S603 - our own


def stop(process: subprocess.Popen[bytes]) -> int:
    """Stop the process. Returns its exit code: 0 if it had ended before, 1 if it had to be killed."""
    if process.poll() is not None:
        return 0
    process.terminate()
    try:
        return process.wait(SHUTDOWN_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return 1
