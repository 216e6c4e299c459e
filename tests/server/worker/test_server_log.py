"""The lines of gunicorn's log that lbflask corrects."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import pytest
from gunicorn import sock
from gunicorn.config import Config

from lbflask.server.worker.server_log import ServerLog


@pytest.fixture(params=["127.0.0.1", "[::1]"])
def taken(request: pytest.FixtureRequest) -> Iterator[str]:
    """An address at which another process listens."""
    host = request.param.strip("[]")
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        yield f"{request.param}:{listener.getsockname()[1]}"


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # gunicorn leaves those that it cannot bind
@pytest.mark.parametrize("setting", ["bind", "admin_bind"])
def test_an_address_in_use_is_named_with_its_setting(
    setting: str, taken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sock.time, "sleep", lambda _: None)
    monkeypatch.setattr(ServerLog, "_admin_listener", taken if setting == "admin_bind" else "")
    cfg = Config()
    cfg.set("bind", [taken])
    log = ServerLog(cfg)
    log.error_log.propagate = True
    try:
        with caplog.at_level(logging.ERROR), pytest.raises(SystemExit):
            sock.create_sockets(cfg, log)
    finally:
        log.error_log.propagate = False
    *_, attempt, end = dict.fromkeys(record.message for record in caplog.records)
    assert attempt == f"{setting} = {taken!r}: no listener can be opened there: [Errno 98] Address already in use"
    assert end.startswith(f"{setting} = {taken!r}: no listener can be opened there: gunicorn has given up; ")
