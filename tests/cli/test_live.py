"""`lbflask live` against running balancers: its exit code and its line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from devtools.certificates import Authority
from devtools.servers import Gunicorn, free_port, runtime_directory, urls
from devtools.wait import PATIENCE

pytestmark = pytest.mark.e2e


def live(**settings: object) -> tuple[int, str]:
    """The exit code and the errors of the command with these settings."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LBFLASK_")}
    environ: Mapping[str, str] = {f"LBFLASK_{key.upper()}": str(value) for key, value in settings.items()}
    done = subprocess.run(
        [sys.executable, "-m", "lbflask", "live"],
        env={**clean, "LBFLASK_CONFIG": os.devnull, **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.thorough
def test_a_balancer_is_live_without_any_backend_and_dead_when_it_has_ended(redis_url: str) -> None:
    settings = {"redis_url": redis_url, "backends": urls([9])}
    with Gunicorn(workers=1, **settings) as gunicorn:
        bind = f"0.0.0.0:{gunicorn.port}"
        assert live(**settings, bind=bind) == (0, "")
        assert live(**settings, bind=bind, live_path="") == (0, "")
        assert live(**settings, bind=bind, live_path="/else") == (1, f"lbflask: {bind} answers /else with 502\n")
        assert gunicorn.stop() == 0
    code, line = live(**settings, bind=bind)
    assert (code, line.startswith(f"lbflask: {bind} does not answer: ")) == (1, True)


@pytest.mark.long
def test_a_balancer_with_tls_is_live(redis_url: str, tmp_path: Path) -> None:
    pair = Authority(tmp_path).pair("balancer.test")
    tls = {"tls__certificate": pair.certificate, "tls__key": pair.key}
    settings = {"redis_url": redis_url, "backends": urls([9]), **tls}
    with Gunicorn(workers=1, **settings) as gunicorn:
        assert live(**settings, bind=f"127.0.0.1:{gunicorn.port}") == (0, "")
        code, line = live(redis_url=redis_url, backends=urls([9]), bind=f"127.0.0.1:{gunicorn.port}")
        assert (code, "answers /live with 400" in line) == (1, True)


def test_a_balancer_on_a_unix_socket_is_live(redis_url: str) -> None:
    with runtime_directory() as directory:
        settings = {"redis_url": redis_url, "backends": urls([9]), "bind": f"unix:{directory}/lbflask.sock"}
        with Gunicorn(workers=1, **settings):
            assert live(**settings) == (0, "")


def test_an_address_where_nothing_listens_is_not_live() -> None:
    code, line = live(backends=urls([9]), bind=f"127.0.0.1:{free_port()}")
    assert (code, "does not answer: " in line) == (1, True)
