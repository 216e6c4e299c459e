"""The access log as an operator handles it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.servers import Gunicorn, free_port, get, start_demo
from tests.support.wait import eventually

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("worker", ["lbflask.worker.ProxyWorker", "gthread"])
def test_a_rotated_log_is_followed_on_usr1(redis_url: str, tmp_path: Path, worker: str) -> None:
    log, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    backend = start_demo(port := free_port())
    balancer = Gunicorn(
        "-k", worker, workers=1, backends=f"http://127.0.0.1:{port}", redis_url=redis_url, access_log=log
    )
    try:
        assert get(balancer.port, "/before").status == 200
        eventually(lambda: "/before" in log.read_text(), "the first line")
        log.rename(rotated)
        balancer.signal(signal.SIGUSR1)
        eventually(log.exists, "the new file")
        assert get(balancer.port, "/after").status == 200
        eventually(lambda: "/after" in log.read_text(), "the second line")
        assert "/after" not in rotated.read_text()
        assert balancer.stop() == 0
    finally:
        balancer.kill()
        backend.kill()
