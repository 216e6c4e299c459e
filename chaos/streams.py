"""Long exchanges during a scenario: tunnels that echo, and slow downloads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from chaos.backend import DRIP
from devtools.raw_client import ConnectionCut, RawClient

TUNNEL = b"GET /tunnel HTTP/1.1\r\nHost: chaos\r\nConnection: Upgrade\r\nUpgrade: x-echo\r\n\r\n"
#: Seconds between two bytes through each tunnel.
ECHO_INTERVAL = 0.1


class Streams:
    """So many tunnels and downloads, spread over these ports, and their results. A download takes `seconds`, and is
    followed by another until `stop`.
    """

    def __init__(self, ports: Sequence[int], count: int, seconds: float) -> None:
        self.echoes = 0  #: bytes that tunnels returned
        self.downloads = 0  #: complete ones
        self.lost_tunnels: list[str] = []
        self.broken_downloads: list[str] = []
        self._stop = threading.Event()
        self._pieces = max(1, int(seconds / DRIP))
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=work, args=(ports[number % len(ports)],), daemon=True)
            for work in (self._echo, self._download)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send a last byte through each tunnel, and wait for the downloads under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join(self._pieces * DRIP + 20)

    def _echo(self, port: int) -> None:
        try:
            with RawClient(port) as client:
                if client.ask(TUNNEL).status != 101:
                    raise OSError("no tunnel")
                ended = False
                while not ended:
                    ended = self._stop.wait(ECHO_INTERVAL)
                    client.send(b"!")
                    client.read(1)
                    with self._lock:
                        self.echoes += 1
        except (OSError, ConnectionCut) as error:
            self.lost_tunnels.append(repr(error))

    def _download(self, port: int) -> None:
        request = b"GET /drip/%d HTTP/1.1\r\nHost: chaos\r\n\r\n" % self._pieces
        try:
            with RawClient(port) as client:
                while not self._stop.is_set():
                    answer = client.ask(request)
                    if answer.status != 200 or len(answer.body) != self._pieces:
                        raise OSError(f"{answer.status}, {len(answer.body)} of {self._pieces} pieces")
                    with self._lock:
                        self.downloads += 1
        except (OSError, ConnectionCut) as error:
            self.broken_downloads.append(repr(error))


@contextmanager
def streams(ports: Sequence[int], count: int, seconds: float) -> Iterator[Streams]:
    """Streams for the length of a block, which begins when all tunnels are open."""
    running = Streams(ports, count, seconds)
    try:
        deadline = time.monotonic() + 20
        while running.echoes < count and time.monotonic() < deadline:
            time.sleep(0.01)
        yield running
    finally:
        with suppress(RuntimeError):
            running.stop()
