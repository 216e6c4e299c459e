"""An installed package needs no file of a checkout: `gunicorn -c python:lbflask.gunicorn_conf lbflask.wsgi`."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from devtools.servers import Process, free_port, get, urls
from devtools.wait import eventually

pytestmark = pytest.mark.e2e


def test_it_starts_anywhere_and_reloads_what_only_new_workers_take_over(
    store: str, demos: list[int], tmp_path: Path
) -> None:
    port, admin = free_port(), free_port()
    text = f'bind = "127.0.0.1:{port}"\nadmin_bind = "127.0.0.1:{admin}"\nredis_url = "{store}"\n'
    text += f"backends = {json.dumps(urls(demos))}\n"
    (tmp_path / "lbflask.toml").write_text(text)
    command = [sys.executable, "-m", "gunicorn", "-c", "python:lbflask.gunicorn_conf", "lbflask.wsgi"]
    with Process(command, cwd=tmp_path) as gunicorn:
        gunicorn.await_start(lambda: f":{admin}" in gunicorn.output and status(port, "/") == 200, "gunicorn answers")
        assert "lbflask.worker.ProxyWorker" in gunicorn.output
        assert status(port, "/" + "x" * 400) == 200
        (tmp_path / "lbflask.toml").write_text(text + "[limits]\nline = 300\n")
        gunicorn.signal(signal.SIGHUP)
        eventually(lambda: status(port, "/" + "x" * 400) == 414, "new workers have the new limit")
        assert gunicorn.stop() == 0
        gunicorn.assert_no_traceback()


def status(port: int, path: str) -> int:
    try:
        return get(port, path).status
    except OSError:
        return 0
