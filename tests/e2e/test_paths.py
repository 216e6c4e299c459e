"""Relative paths of a configuration file, as a running gunicorn takes them that was started elsewhere."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest

from devtools.servers import Gunicorn, get, urls
from devtools.wait import PATIENCE, eventually

pytestmark = pytest.mark.e2e


def test_files_and_sockets_are_beside_the_configuration(store: str, demos: list[int], tmp_path: Path) -> None:
    etc, work = tmp_path / "etc", tmp_path / "work"
    etc.mkdir()
    work.mkdir()
    (etc / "closed.html").write_text("<p>closed")
    text = (
        f"backends = {json.dumps(urls(demos))}\nredis_url = {json.dumps(store)}\n"
        'access_log = "access.log"\n'
        '[[routes]]\nname = "closed"\nmatch = { path = "/closed" }\nrespond = { status = 200, file = "closed.html" }\n'
    )
    (etc / "lb.toml").write_text(text)
    with Gunicorn(workers=1, wait=False, cwd=work, config=etc / "lb.toml") as balancer:
        balancer.await_start(lambda: get(balancer.port, "/closed").status == 200, "gunicorn answers")
        assert get(balancer.port, "/closed").body == b"<p>closed"
        eventually((etc / "access.log").read_text, "the log is beside the file")
        (etc / "lb.toml").write_text(text.replace("access.log", "later.log"))
        balancer.signal(signal.SIGHUP)
        eventually((etc / "later.log").exists, "a reload starts from the same directory")
        assert list(work.iterdir()) == []


@pytest.mark.parametrize("form", ["unix:admin.sock", "unix:{}/admin.sock", "unix://{}/admin.sock"])
@pytest.mark.sampled(3, 1)
def test_a_unix_socket_is_the_admin_listener_in_each_of_its_forms(
    store: str, demos: list[int], tmp_path: Path, form: str
) -> None:
    bind, path = form.format(tmp_path), str(tmp_path / "admin.sock")
    settings = {"redis_url": store, "backends": urls(demos), "admin_bind": bind}
    with Gunicorn(workers=1, wait=False, cwd=tmp_path, **settings) as balancer:
        balancer.await_start(lambda: get(balancer.port).status == 200, "gunicorn answers")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(path)
            client.sendall(b"GET /api/v1/session HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            with client.makefile("rb") as answer:
                assert b'"role":"operator"' in answer.read()
