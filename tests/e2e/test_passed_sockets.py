"""Listeners at sockets that systemd opens, also after a reload and an upgrade; and unix sockets with a mode."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from devtools.ports import free_port
from devtools.scripted_backend import OK, Peer, ScriptedBackend
from devtools.servers import ROOT, Gunicorn, get, listens, runtime_directory
from devtools.wait import PATIENCE, eventually
from tests.support.socket_activation import activated

pytestmark = pytest.mark.e2e

NamedSocket = tuple[str, socket.socket]
COMMAND = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "lbflask.wsgi"]
#: Shows by which listener a request came.
ROUTE = '[[routes]]\nmatch.listener = "{}"\nrespond = {{ status = {} }}\n'
REST = "[[routes]]\nrespond = { status = 404 }\n"


def play(peer: Peer) -> None:
    while peer.read_head():
        peer.send(OK)


class Activated(Gunicorn):
    """gunicorn with these sockets, by name, and the text of a configuration."""

    def __init__(
        self, directory: Path, store: str, text: str, sockets: Sequence[NamedSocket], *, wait: bool = True
    ) -> None:
        self.file, self._store = directory / "lbflask.toml", store
        self.write(text)
        names, given = [name for name, _ in sockets], [one for _, one in sockets]
        command = activated(COMMAND, given, names) if sockets else COMMAND
        numbers = tuple(one.fileno() for one in given)
        super().__init__(wait=wait, workers=1, command=command, pass_fds=numbers, config=self.file, bind=None)

    def write(self, text: str) -> None:
        self.file.write_text(f"redis_url = '{self._store}'\nbackends = ['http://127.0.0.1:1']\n{text}")

    def reload(self, text: str) -> None:
        """Reload, and wait until new workers have taken over."""
        self.write(text)
        before = self.workers()
        self.signal(signal.SIGHUP)
        self.await_workers(without=before)


@pytest.fixture
def tcp() -> Iterator[list[NamedSocket]]:
    with socket.create_server(("127.0.0.1", 0)) as web, socket.create_server(("127.0.0.1", 0)) as other:
        yield [("web", web), ("other", other)]


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short one, since the paths of sockets have little room."""
    with runtime_directory() as made:
        yield made


def at(*binds: str) -> str:
    return "".join(f"[[listeners]]\nbind = '{bind}'\n" for bind in binds)


def status(path: Path) -> int:
    """The status of a response by a unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        client.sendall(b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return int(client.recv(65_536).split()[1])


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_sockets_serve_by_name_and_number_beside_others(tcp: list[NamedSocket], store: str, tmp_path: Path) -> None:
    web, other = (one.getsockname()[1] for _, one in tcp)
    own, more = free_port(), free_port()

    def statuses(*ports: int) -> list[int]:
        return [get(port, "/").status for port in ports]

    first = at("systemd:web", "fd://4") + f"name = 'fourth'\n{at(f'127.0.0.1:{own}')}"
    first += ROUTE.format("systemd:web", 410) + ROUTE.format("fourth", 411) + REST
    second = at("systemd:other", "systemd:web", f"127.0.0.1:{own}", f"127.0.0.1:{more}")
    second += ROUTE.format("systemd:web", 410) + ROUTE.format("systemd:other", 412) + REST
    third = at("systemd:web", "fd://4", f"127.0.0.1:{own}", f"127.0.0.1:{more}") + ROUTE.format("fd://4", 413) + REST
    last = at("systemd:web", "systemd:other") + ROUTE.format("systemd:other", 414) + REST
    with Activated(tmp_path, store, first, tcp) as balancer:
        assert statuses(web, other, own) == [410, 411, 404]
        balancer.reload(second)
        assert statuses(web, other, own, more) == [410, 412, 404, 404]
        balancer.write(at("systemd:none", "systemd:web"))
        refused = get(balancer.admin_port, "/api/v1/reload", "POST")
        assert refused.status == 422
        reason = (
            f"{balancer.file}:4: listeners[0].bind = 'systemd:none': systemd has passed no such socket; there are "
            "fd://3 (systemd:web), fd://4 (systemd:other)"
        )
        assert reason in json.loads(refused.body)["detail"]
        balancer.write(third)
        for count in (1, 2):  # the second one by a master that has them from another master
            old = balancer.upgrade()
            os.kill(old, signal.SIGTERM)
            eventually(lambda n=count: balancer.output.count("has been promoted") == n, "the new one is alone")  # type: ignore[misc]
            assert statuses(web, other, own) == [404, 413, 404]
        balancer.reload(last)
        assert statuses(web, other) == [404, 414]
        eventually(lambda: not listens(own), "nothing listens at an address that is gone")
        balancer.assert_no_traceback()
        balancer.signal(signal.SIGTERM)
        eventually(lambda: not listens(balancer.admin_port), "it ends")


def test_the_file_of_a_passed_socket_stays_and_that_of_another_goes(store: str, directory: Path) -> None:
    passed, own = directory / "passed.sock", directory / "own.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(passed))
        listening.listen()
        with Activated(directory, store, at("systemd:app", f"unix:{own}"), [("app", listening)]) as balancer:
            assert [status(path) for path in (passed, own)] == [200, 200]
            assert balancer.stop() == 0
        assert passed.exists()
        assert not own.exists()


def test_sockets_that_nothing_names_are_all_public(tcp: list[NamedSocket], store: str, tmp_path: Path) -> None:
    ports = [one.getsockname()[1] for _, one in tcp]
    with Activated(tmp_path, store, "", tcp, wait=False) as balancer:
        balancer.await_start(lambda: get(ports[0], "/live").status == 200, "it serves")
        assert not listens(balancer.admin_port)
        old = balancer.master
        balancer.signal(signal.SIGUSR2)
        eventually(lambda: balancer.output.count("Booting worker") == 2, "another master has a worker")
        os.kill(old, signal.SIGTERM)
        eventually(lambda: "Master has been promoted" in balancer.output, "it is alone")
        assert [get(port, "/live").status for port in ports] == [200, 200]
        balancer.assert_no_traceback()


@pytest.mark.sampled(3, 1)
@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        (at("systemd:web"), (), "listeners[0].bind = 'systemd:web': systemd has passed no socket to this process"),
        (at("systemd:web"), ("web", "other"), "systemd passes fd://4 (systemd:other) too: write [[listeners]] bind ="),
        (at("systemd:x"), ("x", "x"), "2 sockets have this name: write one of fd://3, fd://4"),
        (
            at("systemd:web", "fd://3"),
            ("web",),
            "listeners[1].bind: 'fd://3' is taken by listeners[0].bind = 'systemd:web'",
        ),
        (at("systemd:web"), ("udp", "web"), "listeners: systemd passes fd://3 (systemd:udp) too"),
        (at("fd://3"), ("udp",), "is no socket that accepts streams at an address"),
    ],
)
def test_a_start_that_could_not_serve_ends_with_one_line(
    text: str, names: tuple[str, ...], expected: str, store: str, tmp_path: Path
) -> None:
    sockets = [
        socket.socket(type=socket.SOCK_DGRAM) if name == "udp" else socket.create_server(("127.0.0.1", 0))
        for name in names
    ]
    try:
        with Activated(tmp_path, store, text, [*zip(names, sockets, strict=True)], wait=False) as balancer:
            assert balancer.wait() == 4
            (line,) = [line for line in balancer.output.splitlines() if "lbflask" in line and expected in line]
            assert "lbflask.toml:" in line
            balancer.assert_no_traceback()
    finally:
        for one in sockets:
            one.close()


def test_a_unix_socket_has_its_mode_from_the_first_moment_on(store: str, directory: Path) -> None:
    public, plain, admin = (directory / name for name in ("public.sock", "plain.sock", "admin.sock"))
    text = (
        f"admin_bind = 'unix:{admin}'\nadmin.socket_mode = '{{}}'\n"
        f"[[listeners]]\nbind = 'unix:{public}'\nsocket_mode = '{{}}'\n{at(f'unix:{plain}')}"
    )
    file = directory / "lbflask.toml"
    with ScriptedBackend(play) as backend:

        def write(*modes: str) -> None:
            file.write_text(f"redis_url = '{store}'\nbackends = ['{backend.url}']\n{text.format(*modes)}")

        write("0600", "0660")
        with Gunicorn(workers=1, config=file, bind=None, admin_bind=None, wait=False) as balancer:
            balancer.await_start(lambda: public.exists() and status(public) == 200, "it serves")
            assert [mode_of(path) for path in (public, plain, admin)] == [0o660, 0o777, 0o600]
            write("0640", "")
            balancer.signal(signal.SIGHUP)
            eventually(lambda: mode_of(admin) == 0o640, "the mode of the admin listener")
            eventually(lambda: mode_of(public) == 0o777, "the mode that gunicorn has")
            assert status(public) == 200
            assert balancer.stop() == 0
        assert [path.exists() for path in (public, plain, admin)] == [False] * 3
