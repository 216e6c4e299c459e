"""Everything on one machine, for the first look: starts the processes, and ends them in the right order.

Each child has a session of its own, so that a Ctrl-C on the terminal reaches only this process, which then lets the
balancer finish its requests while the backends are still there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import click

from lbflask.config.load import DEFAULT_FILE

#: Seconds that one process gets to end by itself.
STOP_WITHIN = 45.0
PORTS = ("8081", "8082", "8083")


def demo(workers: int) -> int:
    """Run three demo backends, the checker and the balancer until a signal, or until one of them ends by itself.

    Returns the exit code: 0 after a signal when all ended well, else 1.
    """
    environ = dict(os.environ)
    if "LBFLASK_CONFIG" not in environ and not Path(DEFAULT_FILE).exists():
        environ.setdefault("LBFLASK_BACKENDS", ",".join(f"http://127.0.0.1:{port}" for port in PORTS))
    python = [sys.executable, "-m"]
    settings = Path(__file__).with_name("gunicorn_conf.py")
    gunicorn = [*python, "gunicorn", "-c", str(settings), "--workers", str(workers)]
    commands = {
        **{f"backend {port}": [*python, "lbflask.demo", port] for port in PORTS},
        "balancer": [*gunicorn, "lbflask.wsgi"],
        "checker": [*python, "lbflask.healthcheck"],
    }
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            running[name] = subprocess.Popen(command, env=environ, start_new_session=True)  # noqa: S603 - our own
        click.echo(
            f"lbflask: the balancer is at http://localhost:8080, backends at {', '.join(PORTS)}. Ctrl-C ends all."
        )
        _pass_on_hang_ups(running)
        click.echo(f"lbflask: try `kill {running['backend 8081'].pid}`, which ends one backend, and nothing breaks.")
        lost = _wait(running, stop)
    finally:
        codes = [_end(process) for name in ("checker", "balancer") if (process := running.get(name))]
        codes += [_end(running[name]) for name in running if name.startswith("backend")]
    return 0 if not lost and not any(codes) else 1


def _pass_on_hang_ups(running: dict[str, subprocess.Popen[bytes]]) -> None:
    """SIGHUP reloads the configuration of both."""

    def pass_on(number: int, _frame: object) -> None:
        for name in ("balancer", "checker"):
            running[name].send_signal(number)

    signal.signal(signal.SIGHUP, pass_on)


def _wait(running: dict[str, subprocess.Popen[bytes]], stop: threading.Event) -> bool:
    """Until told to stop; whether a process that is not a backend ended by itself. Backends may be killed for fun."""
    while not stop.wait(0.2):
        for name in ("balancer", "checker"):
            code = running[name].poll()
            if code is not None:
                click.echo(f"lbflask: the {name} ended with exit code {code}", err=True)
                return True
    return False


def _end(process: subprocess.Popen[bytes]) -> int:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return 1
        return process.returncode
    return 0
