"""The checker process ends in time, whatever its threads wait for."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from devtools.servers import start_checker, urls
from devtools.wait import eventually
from lbflask.healthcheck import STOP_TIMEOUT

pytestmark = [pytest.mark.e2e, pytest.mark.early]

#: A resolver that no server answers, loaded before all else.
HANGING = """
import pathlib, socket, time
usual = socket.getaddrinfo
def getaddrinfo(host, *arguments, **options):
    if host == "store.test":
        pathlib.Path(__file__).with_name("asked").touch()
        time.sleep(300)
    return usual(host, *arguments, **options)
socket.getaddrinfo = getaddrinfo
"""


@pytest.mark.thorough
def test_a_checker_ends_while_the_name_of_the_store_is_looked_up(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HANGING)
    environ = {"PYTHONPATH": str(tmp_path)}
    with start_checker(environ, redis_url="redis://store.test:6379/0", backends=urls([9])) as checker:
        checker.await_start((tmp_path / "asked").exists, "it looks up the store's name")
        eventually(lambda: checker.handles(signal.SIGHUP), "it can be stopped")
        assert checker.stop(within=STOP_TIMEOUT + 30) == 0
        checker.assert_no_traceback()
