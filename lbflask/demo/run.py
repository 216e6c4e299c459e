"""`lbflask demo`: starts demo backends, the checker and the balancer, and stops them in the reverse order.

Ctrl-C reaches only this process: the balancer can then finish its requests while the backends still run.
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

from lbflask import processes
from lbflask.config.field_types import socket_address
from lbflask.config.load import DEFAULT_FILE, ConfigError, load
from lbflask.config.schema import Config

PORTS = ("8081", "8082", "8083")


def demo(workers: int) -> int:
    """Run three demo backends, the checker and the balancer until a signal, or until one of them exits.

    Returns the exit code: 0 if a signal ended the demo and all processes stopped without error, else 1. An invalid
    configuration or a port in use is printed in one line, and nothing is started.
    """
    environ = dict(os.environ)
    if "LBFLASK_CONFIG" not in environ and not Path(DEFAULT_FILE).exists():
        environ.setdefault("LBFLASK_BACKENDS", ",".join(f"http://127.0.0.1:{port}" for port in PORTS))
    try:
        config = load(environ)
        if problem := next(_unavailable_listeners(config), ""):
            raise ConfigError(problem)
    except ConfigError as error:
        click.echo(f"lbflask: {error}", err=True)
        return 1
    if config.redis_url is None and config.namespace == Config.model_fields["namespace"].default:
        environ["LBFLASK_NAMESPACE"] = "lbflask-demo"  # other services of this user may use the same private Valkey
    commands = {
        **{f"backend {port}": [sys.executable, "-m", "lbflask.demo.backend", port] for port in PORTS},
        "balancer": processes.balancer(["--workers", str(workers)]),
        "checker": processes.CHECKER,
    }
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            running[name] = processes.start(command, environ)
        click.echo(f"lbflask: {_addresses(config)}. Ctrl-C stops all.")
        _forward_sighup(running)
        pid = running["backend 8081"].pid
        click.echo(f"lbflask: try `kill {pid}`, which stops one backend: no request fails.")
        failed = _wait(running, stop)
    finally:
        codes = [processes.stop(process) for name in ("checker", "balancer") if (process := running.get(name))]
        codes += [processes.stop(running[name]) for name in running if name.startswith("backend")]
    return 0 if not failed and not any(codes) else 1


def _addresses(config: Config) -> str:
    """The addresses of the balancer, of the dashboard and of the backends, in a sentence."""
    urls = (address(one.bind, "https" if one.tls else "http") for one in config.every_listener())
    parts = [f"the balancer is at {' and '.join(urls)}"]
    if config.admin_bind:
        parts.append(f"its dashboard at {address(config.admin_bind)}")
    return ", ".join([*parts, f"backends at {', '.join(PORTS)}"])


def address(bind: str, scheme: str = "http") -> str:
    """The URL of a listener for clients on this machine."""
    if bind.startswith("unix:"):
        return bind
    host, _, port = bind.rpartition(":")
    return f"{scheme}://{'localhost' if host in ('0.0.0.0', '[::]') else host}:{port}"


def _unavailable_listeners(config: Config) -> Iterator[str]:
    """A line for each listener that cannot be opened: the reason and a remedy."""
    wanted = [(f"127.0.0.1:{port}", "a demo backend needs it: end the process that listens there") for port in PORTS]
    advice = "the {} needs it: end the process that listens there, or set {}"
    wanted += [(bind, advice.format("balancer", "LBFLASK_BIND")) for bind in config.addresses]
    if config.admin_bind:
        wanted.append((config.admin_bind, advice.format("admin listener", "LBFLASK_ADMIN_BIND")))
    for bind, remedy in wanted:
        if reason := _bind_error(bind):
            yield f"port {bind.rpartition(':')[2]} is not available ({bind}: {reason}); {remedy}"


def _bind_error(bind: str) -> str:
    """Why a listener cannot bind to the address; empty if it can. A unix socket replaces an old one."""
    host_and_port = socket_address(bind)
    if not isinstance(host_and_port, tuple):
        return ""
    try:
        addresses = socket.getaddrinfo(*host_and_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, resolved = addresses[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(resolved)
            probe.listen(1)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return ""


def _forward_sighup(running: dict[str, subprocess.Popen[bytes]]) -> None:
    """Forward SIGHUP to the balancer and to the checker, which reload their configuration."""

    def forward(number: int, _frame: object) -> None:
        for name in ("balancer", "checker"):
            running[name].send_signal(number)

    signal.signal(signal.SIGHUP, forward)


def _wait(running: dict[str, subprocess.Popen[bytes]], stop: threading.Event) -> bool:
    """Wait for `stop`; returns whether a process failed before. A backend may be killed: only an error code counts."""
    while not stop.wait(0.2):
        for name, process in running.items():
            code = process.poll()
            if code is not None and (code > 0 or not name.startswith("backend")):
                click.echo(f"lbflask: the {name} ended with exit code {code}", err=True)
                return True
    return False
