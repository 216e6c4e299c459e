"""Checks of the units under systemd in a container, for deploy/test-images; README.md describes the same steps."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
from pathlib import Path

from check_parts import get, wait

HERE = Path(__file__).parent
UNITS = ["lbflask", "lbflask-healthcheck"]
CONFIGURATION = Path("/etc/lbflask/lbflask.toml")
SOCKET = "/run/lbflask-private/public.sock"
LOG = Path("/var/log/lbflask/access.log")
SETTINGS = f"""
bind = ["0.0.0.0:80", "unix:{SOCKET}"]
backends = ["http://127.0.0.1:8081", "http://127.0.0.1:8082"]
access_log = "{LOG}"
"""


def run(*command: str) -> int:
    """The exit code of a command."""
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode


def get_by_socket() -> str:
    """The body of a response through the unix socket."""
    client = http.client.HTTPConnection("localhost")
    client.sock = socket.socket(socket.AF_UNIX)
    client.sock.connect(SOCKET)
    client.request("GET", "/")
    return client.getresponse().read().decode()


def start() -> None:
    """Set the machine up, and start two demo backends and the units."""
    run("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "lbflask")
    CONFIGURATION.parent.mkdir(exist_ok=True)
    CONFIGURATION.write_text(SETTINGS)
    shutil.copy(HERE.parent / "gunicorn.conf.py", CONFIGURATION.parent)
    for unit in UNITS:
        shutil.copy(HERE / f"{unit}.service", "/etc/systemd/system")
    subprocess.Popen(["/opt/lbflask/bin/python", "-m", "lbflask.demo.backend", "8081", "8082"])
    run("systemctl", "daemon-reload")
    assert run("systemctl", "start", *UNITS) == 0


def main() -> None:
    """All checks, in order."""
    start()
    wait(lambda: get(80).startswith("hello"), "the balancer answers at port 80")
    wait(lambda: get_by_socket().startswith("hello"), "and at its unix socket")
    wait(lambda: '"health":"up"' in get(8090, "/health"), "the checker reaches it through the private Valkey")
    wait(lambda: LOG.read_text().count(" 200 ") >= 2, "the access log is written")
    assert run("systemctl", "restart", "lbflask-healthcheck") == 0
    assert any(Path("/dev/shm").iterdir()), "the end of the checker has removed the metrics of the balancer"
    for unit in UNITS:
        assert run("systemctl", "reload", unit) == 0, f"{unit} does not reload"
    CONFIGURATION.write_text(SETTINGS + "colour = 'red'\n")
    for unit in UNITS:
        assert run("systemctl", "reload", unit) != 0, f"{unit} accepts a configuration with an error"
    print("ok: a reload is done, and one with an error fails")
    wait(lambda: get(80).startswith("hello"), "the balancer answers after them")
    for unit in reversed(UNITS):
        assert run("systemctl", "stop", unit) == 0
        shown = subprocess.run(
            ["systemctl", "show", "--property", "Result", unit], check=True, capture_output=True, text=True
        )
        assert shown.stdout.strip() == "Result=success", shown.stdout
    print("ok: both units end without a failure")


main()
