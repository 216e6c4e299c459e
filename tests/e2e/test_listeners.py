"""A reload that changes listeners, at a master that was started by a command or by an upgrade."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from devtools.ports import free_port
from devtools.servers import Gunicorn, get, listens, urls
from devtools.traffic import traffic
from devtools.wait import eventually

pytestmark = pytest.mark.e2e


class Listening(Gunicorn):
    """gunicorn whose public listener is that of a file, and whose admin listener has an address by default.

    The default is another free port than 8090, which any process of the machine may use.
    """

    def __init__(self, directory: Path, store: str, demos: list[int], *options: str) -> None:
        self.file, self._fixed = directory / "lbflask.toml", f"backends = '{urls(demos)}'\nredis_url = '{store}'\n"
        port, admin = free_port(), free_port()
        self.write(f"127.0.0.1:{port}")
        gunicorns = directory / "gunicorn.conf.py"
        gunicorns.write_text(
            "from lbflask.config.schema import Config\n"
            f"Config.model_fields['admin_bind'].default = '127.0.0.1:{admin}'\n"
            "Config.model_rebuild(force=True)\n"
            "from lbflask.server.gunicorn_hooks import gunicorn_settings\n"
            "globals().update(gunicorn_settings())\n"
        )
        super().__init__("-c", str(gunicorns), *options, wait=False, config=self.file, bind=None, admin_bind=None)
        self.port, self.admin_port = port, admin
        self.await_ready()

    def write(self, bind: str) -> None:
        self.file.write_text(f"bind = '{bind}'\n{self._fixed}")

    def reload(self) -> None:
        """Reload, and wait until new workers have taken over."""
        before = self.workers()
        self.signal(signal.SIGHUP)
        self.await_workers(without=before)


def test_a_changed_public_listener_leaves_the_admin_listener(store: str, demos: list[int], tmp_path: Path) -> None:
    with Listening(tmp_path, store, demos) as balancer:
        old, new = balancer.port, free_port()
        balancer.write(f"127.0.0.1:{old},127.0.0.1:{new}")
        with traffic(old, rate=300) as load:
            balancer.reload()
            assert get(new).status == 200
        assert load.failures == []
        balancer.write(f"127.0.0.1:{new}")
        balancer.reload()
        assert get(new).status == 200
        eventually(lambda: not listens(old), "nothing listens at the old address")
        balancer.assert_no_traceback()
        assert balancer.stop() == 0


@pytest.mark.thorough
def test_a_reload_after_an_upgrade_leaves_the_admin_listener(store: str, demos: list[int], tmp_path: Path) -> None:
    with Listening(tmp_path, store, demos) as balancer:
        old, new = balancer.upgrade(), free_port()
        balancer.write(f"127.0.0.1:{new}")
        try:
            balancer.reload()  # the old master still holds the listeners too
            assert get(new).status == 200
            os.kill(old, signal.SIGTERM)
            assert balancer.wait() == 0
            eventually(lambda: not listens(balancer.port), "nothing listens at the old address")
            balancer.write(f"127.0.0.1:{balancer.port}")
            balancer.reload()
            assert get(balancer.port).status == 200
            assert "no admin listener" not in balancer.output
            balancer.assert_no_traceback()
        finally:
            balancer.signal(signal.SIGTERM)
        eventually(lambda: not listens(balancer.port), "it ends")


@pytest.mark.thorough
def test_an_admin_listener_that_is_configured_no_more_has_its_default_address(
    store: str, demos: list[int], tmp_path: Path
) -> None:
    with Listening(tmp_path, store, demos) as balancer:
        default, other, bind = balancer.admin_port, free_port(), f"127.0.0.1:{balancer.port}"
        for _ in range(2):
            balancer.write(f"{bind}'\nadmin_bind = '127.0.0.1:{other}")
            balancer.admin_port = other
            balancer.reload()
            assert get(other, "/api/v1/fleet").status == 200
            eventually(lambda: not listens(default), "nothing listens at the default address")
            balancer.write(bind)
            balancer.admin_port = default
            balancer.reload()
            assert get(default, "/api/v1/fleet").status == 200
            eventually(lambda: not listens(other), "nothing listens at the other address")
        balancer.write(f"{bind},0.0.0.0:{default}")
        answer = get(default, "/api/v1/reload", "POST")
        assert answer.status == 422
        assert f"the public listener at 0.0.0.0:{default} is admin_bind" in json.loads(answer.body)["detail"]
        assert balancer.stop() == 0


@pytest.mark.thorough
def test_an_upgraded_master_with_a_pid_file_reloads_beside_the_old_one(
    store: str, demos: list[int], tmp_path: Path
) -> None:
    pidfile = tmp_path / "balancer.pid"
    with Listening(tmp_path, store, demos, "--pid", str(pidfile)) as balancer:
        old, new = balancer.upgrade(), free_port()
        balancer.write(f"127.0.0.1:{balancer.port},127.0.0.1:{new}")
        try:
            balancer.reload()
            assert get(new).status == 200
            assert [int(file.read_text()) for file in (pidfile, tmp_path / "balancer.pid.2")] == [old, balancer.master]
            os.kill(old, signal.SIGTERM)
            assert balancer.wait() == 0
            eventually(lambda: pidfile.exists() and int(pidfile.read_text()) == balancer.master, "it has the name")
            balancer.assert_no_traceback()
        finally:
            balancer.signal(signal.SIGTERM)
        eventually(lambda: not listens(balancer.port), "it ends")


@pytest.mark.long
def test_workers_that_open_listeners_themselves_open_the_new_ones(store: str, demos: list[int], tmp_path: Path) -> None:
    with Listening(tmp_path, store, demos, "--reuse-port") as balancer:
        new = free_port()
        balancer.write(f"127.0.0.1:{balancer.port},127.0.0.1:{new}")
        balancer.reload()
        for port in (balancer.port, new):  # a listener that nothing accepts from would have its share of these
            assert {get(port).status for _ in range(40)} == {200}
        assert balancer.stop() == 0


@pytest.mark.thorough
def test_a_refused_reload_leaves_unix_sockets(store: str, demos: list[int], tmp_path: Path) -> None:
    mine, link, foreign = tmp_path / "mine.sock", tmp_path / "link", tmp_path / "foreign.sock"
    link.symlink_to(tmp_path)
    with (
        Listening(tmp_path, store, demos) as balancer,
        socket.create_server(("127.0.0.1", 0)) as taken,
        socket.socket(socket.AF_UNIX) as other,
    ):
        other.bind(str(foreign))
        other.listen()
        address, kept = f"127.0.0.1:{taken.getsockname()[1]}", f"127.0.0.1:{balancer.port}"
        balancer.write(f"{kept},unix:{mine}")
        balancer.reload()
        umask = umask_of(balancer.master)
        for others in (f"unix:{link / mine.name},{address}", f"unix:{foreign}", f"unix:{tmp_path}/missing/a.sock"):
            balancer.write(f"{kept},{others}")
            assert get(balancer.admin_port, "/api/v1/reload", "POST").status == 422
        for path in (mine, foreign):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
        assert umask_of(balancer.master) == umask
        balancer.write(kept)
        balancer.reload()
        assert not mine.exists()
        assert balancer.stop() == 0


def umask_of(pid: int) -> str:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Umask")]
    return line


@pytest.mark.thorough
def test_an_inherited_listener_at_a_name_is_kept(store: str, demos: list[int], tmp_path: Path) -> None:
    with Listening(tmp_path, store, demos) as balancer:
        named, new = f"localhost:{balancer.port}", free_port()
        balancer.write(named)
        balancer.reload()
        old = balancer.upgrade()
        os.kill(old, signal.SIGTERM)
        assert balancer.wait() == 0
        try:
            balancer.write(f"{named},127.0.0.1:{new}")
            balancer.reload()
            assert get(new).status == 200
            assert get(balancer.port).status == 200
        finally:
            balancer.signal(signal.SIGTERM)
        eventually(lambda: not listens(balancer.port), "it ends")


@pytest.mark.long
def test_an_address_in_use_changes_nothing(store: str, demos: list[int], tmp_path: Path) -> None:
    with Listening(tmp_path, store, demos) as balancer, socket.create_server(("127.0.0.1", 0)) as taken:
        workers, new = balancer.workers(), free_port()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        balancer.write(f"127.0.0.1:{new},{address}")
        answer = get(balancer.admin_port, "/api/v1/reload", "POST")
        assert answer.status == 422
        detail = f"bind: no listener can be opened at {address}: [Errno 98] Address already in use"
        assert json.loads(answer.body)["detail"] == detail
        assert get(balancer.port).status == 200
        assert not listens(new)
        assert balancer.workers() == workers
        assert balancer.stop() == 0
