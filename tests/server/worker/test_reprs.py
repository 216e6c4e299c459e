"""The texts of the worker's objects in a debugger: what, identity, state; no values of fields, no query."""

from __future__ import annotations

import _socket
import socket
from collections.abc import Iterator

import pytest
from gunicorn.config import Config

from lbflask.server.worker.client_connection import ClientConnection, ClientTimeouts
from lbflask.server.worker.connection_balance import ConnectionTable
from lbflask.server.worker.http_exchange import HttpExchange
from lbflask.server.worker.request_reader import read_request
from lbflask.server.worker.response_writer import ResponseWriter
from lbflask.server.worker.settings import freeze
from lbflask.server.worker.stream import Stream

HEAD = b"GET /a?token=secret HTTP/1.1\r\nHost: h\r\nAuthorization: secret\r\nContent-Length: 5\r\n\r\n"


@pytest.fixture
def client() -> Iterator[ClientConnection]:
    ours, peers = socket.socketpair()
    with peers:
        peers.sendall(HEAD)
        stream = Stream(_socket.socket(fileno=ours.detach()))
        yield ClientConnection(stream, ("192.0.2.1", 5555), ClientTimeouts())
        stream.close()


def test_objects_of_a_request_show_their_state_and_no_secrets(client: ClientConnection) -> None:
    assert repr(client) == "<ClientConnection 192.0.2.1:5555 http idle served=0>"
    assert client.await_request(5)
    request = read_request(freeze(Config()), client)
    client.begin_request(request.proxy_info)
    exchange = HttpExchange(request, client)
    writer = ResponseWriter(client.send, request, exchange)
    assert repr(client) == "<ClientConnection 192.0.2.1:5555 http busy served=1>"
    assert repr(request) == "<ReceivedHead GET /a HTTP/1.1 fields=3 body=True>"
    assert repr(request.message) == "<ParsedRequest GET /a fields=3 body=True>"
    assert repr(exchange) == "<HttpExchange GET /a 192.0.2.1 body pending>"
    assert repr(writer) == "<ResponseWriter - not started left=None closes=False>"
    writer.start_response("200 OK", [("Content-Length", "3")])
    writer.write(b"a")
    assert repr(writer) == "<ResponseWriter 200 OK head sent left=2 closes=True>"
    assert repr(client.stream) == f"<Stream fd={client.stream.fileno()} idle writers=0>"


def test_the_table_of_connections_shows_its_entries() -> None:
    table = ConnectionTable()
    table.write(1, 5)
    assert repr(table) == "<ConnectionTable entries=1>"
