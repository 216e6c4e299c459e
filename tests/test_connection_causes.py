from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from devtools.ports import free_port
from lbflask.connection_causes import cause_of
from lbflask.core.failure_causes import FailureCause


def test_a_real_refusal_is_one() -> None:
    with pytest.raises(ConnectionRefusedError) as caught:
        socket.create_connection(("127.0.0.1", free_port()))
    assert cause_of(caught.value) is FailureCause.REFUSED


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(FileNotFoundError) as caught:
        sock.connect(str(tmp_path / "none"))
    assert cause_of(caught.value) is FailureCause.NO_SOCKET


def test_a_time_that_is_over_in_a_thread_or_in_an_event_loop() -> None:
    async def wait() -> None:
        async with asyncio.timeout(0):
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError) as caught:
        asyncio.run(wait())
    assert cause_of(caught.value) is cause_of(TimeoutError("timed out")) is FailureCause.TIMED_OUT


@pytest.mark.parametrize(
    ("error", "cause"),
    [(socket.gaierror(socket.EAI_NONAME, "unknown"), FailureCause.NAME),
     (socket.gaierror(socket.EAI_AGAIN, "try again"), FailureCause.NAME_SERVER),
     (UnicodeError("label too long"), FailureCause.NAME),
     (ssl.SSLError(1, "wrong version number"), FailureCause.TLS),
     (MemoryError(), FailureCause.SHORTAGE),
     (ValueError("anything"), FailureCause.UNKNOWN)],
)  # fmt: skip
def test_errors_without_a_number_have_their_cause(error: Exception, cause: FailureCause) -> None:
    assert cause_of(error) is cause
