"""`lbflask demo`: where it says the balancer is, there it is; what keeps it from starting is one line."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devtools.servers import Process, free_port, get
from devtools.wait import eventually
from lbflask.demo.run import PORTS, address

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("demo_ports")]


@contextmanager
def demo(directory: Path, **settings: object) -> Iterator[Process]:
    variables = {f"LBFLASK_{key.upper()}": str(value) for key, value in settings.items()}
    with Process([sys.executable, "-m", "lbflask", "demo", "--workers", "1"], variables, cwd=directory) as process:
        try:
            yield process
        finally:
            children = process.descendants()
            if process.running:
                process.stop()
            eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "no child is left")


@contextmanager
def taken(port: int) -> Iterator[None]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        yield


@pytest.mark.parametrize("where", ["environment", "file"])
@pytest.mark.sampled(2)
def test_the_address_is_the_one_that_is_configured(tmp_path: Path, where: str) -> None:
    port, admin = free_port(), free_port()
    settings: dict[str, object] = {"bind": f"0.0.0.0:{port}", "admin_bind": f"127.0.0.1:{admin}"}
    if where == "file":
        backends = ", ".join(f'"http://127.0.0.1:{one}"' for one in PORTS)
        text = "".join(f'{key} = "{value}"\n' for key, value in settings.items())
        (tmp_path / "lbflask.toml").write_text(f"{text}backends = [{backends}]\n")
        settings = {}
    with demo(tmp_path, **settings) as process:
        process.await_start(lambda: "Ctrl-C" in process.output, "it says where it is")
        assert f"the balancer is at http://localhost:{port}, " in process.output
        assert f"its dashboard at http://127.0.0.1:{admin}, " in process.output
        process.await_start(lambda: answers(port), "the balancer answers there")
        assert get(port).body.startswith(b"hello from backend 808")
        assert process.stop() == 0


def answers(port: int) -> bool:
    try:
        return get(port).status == 200
    except OSError:
        return False


@pytest.mark.parametrize("which", [*PORTS, "bind", "admin_bind"])
@pytest.mark.sampled(5, 3)
def test_a_port_that_is_taken_is_named_and_nothing_is_started(tmp_path: Path, which: str) -> None:
    settings = {"bind": f"127.0.0.1:{free_port()}", "admin_bind": f"127.0.0.1:{free_port()}"}
    port = int(which) if which in PORTS else int(settings[which].rpartition(":")[2])
    with taken(port), demo(tmp_path, **settings) as process:
        assert process.wait() == 1
        (line,) = process.output.splitlines()
        assert re.match(r"lbflask: port \d+ is not available \(.*: address already in use\); ", line)
        if which in PORTS:
            assert line.startswith(f"lbflask: port {port} ")
        else:
            assert str(port) in line
            assert f"LBFLASK_{which.upper()}" in line


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"bind": "203.0.113.1:1"}, "port 1 is not available (203.0.113.1:1: cannot assign requested address)"),
        ({"bind": "nowhere.invalid:1"}, "port 1 is not available (nowhere.invalid:1: "),
        ({"health__rise": "0"}, "LBFLASK_HEALTH__RISE: health.rise = '0': "),
        ({"config": "missing.toml"}, "missing.toml: cannot be read: "),
    ],
)
@pytest.mark.sampled(4, 2)
@pytest.mark.long
def test_what_else_is_wrong_is_one_line(tmp_path: Path, settings: dict[str, str], told: str) -> None:
    with demo(tmp_path, **{"admin_bind": "", **settings}) as process:
        assert process.wait() == 1
        assert process.output.startswith(f"lbflask: {told}")
        assert len(process.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("bind", "shown"),
    [
        ("0.0.0.0:8080", "http://localhost:8080"),
        ("[::]:8080", "http://localhost:8080"),
        ("127.0.0.1:80", "http://127.0.0.1:80"),
        ("[::1]:80", "http://[::1]:80"),
        ("unix:/run/lb.sock", "unix:/run/lb.sock"),
    ],
)
def test_a_listener_is_shown_as_this_machine_reaches_it(bind: str, shown: str) -> None:
    assert address(bind) == shown
