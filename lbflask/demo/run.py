"""Everything on one machine, for the first look: starts the processes, and ends them in the right order.

Each child has a session of its own, so that a Ctrl-C on the terminal reaches only this process, which then lets the
balancer finish its requests while the backends are still there.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import click

from lbflask.config.field_types import socket_address
from lbflask.config.load import DEFAULT_FILE, ConfigError, load
from lbflask.config.schema import Config

#: Seconds that one process gets to end by itself.
STOP_WITHIN = 45.0
PORTS = ("8081", "8082", "8083")


def demo(workers: int) -> int:
    """Run three demo backends, the checker and the balancer until a signal, or until one of them ends by itself.

    Returns the exit code: 0 after a signal when all ended well, else 1. A configuration with an error, or a port that
    is taken, is one line, and nothing is started.
    """
    environ = dict(os.environ)
    if "LBFLASK_CONFIG" not in environ and not Path(DEFAULT_FILE).exists():
        environ.setdefault("LBFLASK_BACKENDS", ",".join(f"http://127.0.0.1:{port}" for port in PORTS))
    try:
        config = load(environ)
    except ConfigError as error:
        click.echo(f"lbflask: {error}", err=True)
        return 1
    obstacle = next(_obstacles(config), "")
    if obstacle:
        click.echo(f"lbflask: {obstacle}", err=True)
        return 1
    if config.redis_url is None and config.namespace == Config.model_fields["namespace"].default:
        environ["LBFLASK_NAMESPACE"] = "lbflask-demo"  # the private Valkey may serve other services of this user
    python = [sys.executable, "-m"]
    settings = Path(__file__).parents[1] / "gunicorn_conf.py"
    gunicorn = [*python, "gunicorn", "-c", str(settings), "--workers", str(workers)]
    commands = {
        **{f"backend {port}": [*python, "lbflask.demo.backend", port] for port in PORTS},
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
        click.echo(f"lbflask: {_places(config)}. Ctrl-C ends all.")
        _pass_on_hang_ups(running)
        click.echo(f"lbflask: try `kill {running['backend 8081'].pid}`, which ends one backend, and nothing breaks.")
        lost = _wait(running, stop)
    finally:
        codes = [_end(process) for name in ("checker", "balancer") if (process := running.get(name))]
        codes += [_end(running[name]) for name in running if name.startswith("backend")]
    return 0 if not lost and not any(codes) else 1


def _places(config: Config) -> str:
    """Where everything is."""
    scheme = "https" if config.tls.certificate else "http"
    parts = [f"the balancer is at {' and '.join(address(bind, scheme) for bind in config.bind)}"]
    if config.admin_bind:
        parts.append(f"its dashboard at {address(config.admin_bind)}")
    return ", ".join([*parts, f"backends at {', '.join(PORTS)}"])


def address(bind: str, scheme: str = "http") -> str:
    """The URL at which this machine reaches a listener."""
    if bind.startswith("unix:"):
        return bind
    host, _, port = bind.rpartition(":")
    return f"{scheme}://{'localhost' if host in ('0.0.0.0', '[::]') else host}:{port}"


def _obstacles(config: Config) -> Iterator[str]:
    """Listeners that can't be opened, each with the reason and with what to do."""
    wanted = [(f"127.0.0.1:{port}", "a demo backend needs it: end what listens there") for port in PORTS]
    wanted += [(bind, "the balancer needs it: end what listens there, or set LBFLASK_BIND") for bind in config.bind]
    if config.admin_bind:
        advice = "the admin listener needs it: end what listens there, or set LBFLASK_ADMIN_BIND"
        wanted.append((config.admin_bind, advice))
    for bind, advice in wanted:
        why = _refused(bind)
        if why:
            yield f"port {bind.rpartition(':')[2]} can't be had ({bind}: {why}); {advice}"


def _refused(bind: str) -> str:
    """Why nobody can listen there; empty for a free address. A unix socket takes the place of an old one."""
    place = socket_address(bind)
    if not isinstance(place, tuple):
        return ""
    try:
        family, kind, _, _, found = socket.getaddrinfo(*place, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found)
            probe.listen(1)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return ""


def _pass_on_hang_ups(running: dict[str, subprocess.Popen[bytes]]) -> None:
    """SIGHUP reloads the configuration of both."""

    def pass_on(number: int, _frame: object) -> None:
        for name in ("balancer", "checker"):
            running[name].send_signal(number)

    signal.signal(signal.SIGHUP, pass_on)


def _wait(running: dict[str, subprocess.Popen[bytes]], stop: threading.Event) -> bool:
    """Until told to stop; whether a process ended by itself. A backend may be killed for fun: only its codes count."""
    while not stop.wait(0.2):
        for name, process in running.items():
            code = process.poll()
            if code is not None and (code > 0 or not name.startswith("backend")):
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
