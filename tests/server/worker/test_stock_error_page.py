"""The error page of gunicorn's own workers, also with a Python whose `textwrap.dedent` changes line ends."""

from __future__ import annotations

import socket

import h11
import pytest
from gunicorn import util

from lbflask.server.worker import stock_error_page


@pytest.mark.parametrize("message", ["", "<b>a\r\n b", "é €", "x" * 10_000])
def test_it_is_a_complete_response(message: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stock_error_page.write_error(ours, 431, "Request Header Fields Too Large", message)
        ours.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: theirs.recv(65_536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.count(b"\n") == head.count(b"\r\n") == 3
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.receive_data(received)
    response, data = client.next_event(), client.next_event()
    assert isinstance(response, h11.Response)
    assert (response.status_code, bytes(response.reason)) == (431, b"Request Header Fields Too Large")
    assert isinstance(data, h11.Data)
    assert bytes(data.data) == body
    assert isinstance(client.next_event(), h11.EndOfMessage)
    assert b"<b>" not in body


def test_gunicorns_workers_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "write_error", util.write_error)
    stock_error_page.install()
    assert util.write_error is stock_error_page.write_error
