"""Tunnels and event streams of a backend that leaves service end, one after another; those of others go on."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest
from click.testing import CliRunner

from devtools.raw_client import ConnectionCut, RawClient
from devtools.scripted_backend import OK, Peer, ScriptedBackend
from devtools.servers import Gunicorn, start_checker
from devtools.wait import eventually
from lbflask.cli import main
from lbflask.core.faults import LEAVES

pytestmark = pytest.mark.e2e

BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"


class Talker:
    """A backend: `/tunnel` becomes an echo, `/stream` never ends, both after its name; a check is answered as told."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.down = threading.Event()

    def play(self, peer: Peer) -> None:
        while head := peer.read_head():
            if head.startswith(b"GET /tunnel "):
                peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x-echo\r\n\r\n")
                peer.send(self.name + b"\n")
                while line := peer.read_until(b"\n"):
                    peer.send(line)
            elif head.startswith(b"GET /stream "):
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                peer.send(b"1\r\n" + self.name + b"\r\n")
                while not peer.ended.wait(0.02):
                    peer.send(b"4\r\ntick\r\n")
            else:
                peer.send(BUSY if self.down.is_set() else OK)


@pytest.mark.parametrize("how", ["drained", "down"])
@pytest.mark.sampled(2, 1)
def test_long_connections_end_with_their_backend(how: str, store: str) -> None:
    leaving, staying = Talker(b"L"), Talker(b"S")
    with ExitStack() as running:
        houses = [running.enter_context(ScriptedBackend(one.play)) for one in (leaving, staying)]
        settings = {
            "redis_url": store,
            "backends": ",".join(house.url for house in houses),
            "health__path": "/check",
            "health__interval": 0.2,
            "health__long_connections": "close",
            "when_all_down": "reject",
        }
        balancer = running.enter_context(Gunicorn(workers=1, **settings))
        running.enter_context(start_checker(**settings))
        tunnels: dict[bytes, RawClient] = {}
        streams: dict[bytes, RawClient] = {}
        for _ in range(2):
            client = running.enter_context(RawClient(balancer.port))
            client.send(b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x-echo\r\n\r\n")
            assert client.head().status == 101
            tunnels[client.read_until(b"\n")[:1]] = client
        for _ in range(2):
            client = running.enter_context(RawClient(balancer.port))
            client.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.head().status == 200
            client.read_until(b"1\r\n")
            streams[client.read_until(b"\r\n")[:1]] = client
        assert sorted(tunnels) == sorted(streams) == [b"L", b"S"]
        if how == "drained":
            url = f"http://127.0.0.1:{balancer.admin_port}"
            command = ["drain", f"127.0.0.1:{houses[0].port}", "--close-after", "2s", "--url", url]
            done = CliRunner().invoke(main, command)
            assert done.exit_code == 0, done.output
        else:
            leaving.down.set()
        for client in (tunnels[b"L"], streams[b"L"]):
            with pytest.raises(ConnectionCut) as cut:
                client.read(1 << 30)
            assert b"\r\n0\r\n" not in cut.value.got
        tunnels[b"S"].send(b"hello\n")
        assert tunnels[b"S"].read_until(b"\n") == b"hello\n"
        assert streams[b"S"].read_until(b"tick\r\n")
        eventually(lambda: balancer.output.count(f'cut="{LEAVES}"') == 2, "the access log has the reason")
