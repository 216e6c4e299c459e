"""A backend that fails a part of its requests: clients do not notice, and the backends get little more to do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from devtools.scripted_backend import OK, Peer, ScriptedBackend
from devtools.servers import Gunicorn, get

pytestmark = pytest.mark.e2e

BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
REQUESTS = 600


class Failing:
    """A backend that responds 503 to every n-th of its requests; never with 0."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.asked = 0

    def play(self, peer: Peer) -> None:
        while peer.read_head():
            self.asked += 1
            peer.send(BUSY if self.every and self.asked % self.every == 0 else OK)


def test_no_503_reaches_a_client_and_the_load_grows_by_the_failures_only() -> None:
    backends = [Failing(3), Failing(0), Failing(0)]
    with ExitStack() as running:
        urls = [running.enter_context(ScriptedBackend(one.play)).url for one in backends]
        settings = {"backends": ",".join(urls), "retries__statuses": "503"}
        balancer = running.enter_context(Gunicorn(workers=2, **settings))
        clients = running.enter_context(ThreadPoolExecutor(4))
        statuses = list(clients.map(lambda _: get(balancer.port).status, range(REQUESTS)))
    assert statuses == [200] * REQUESTS
    asked = sum(one.asked for one in backends)
    assert backends[0].asked >= REQUESTS // 5, "it stays in service"
    assert asked <= 1.2 * REQUESTS


@pytest.mark.long
def test_the_response_of_the_first_backend_stays_if_no_other_has_a_better_one() -> None:
    with ExitStack() as running:
        urls = [running.enter_context(ScriptedBackend(Failing(1).play)).url for _ in range(2)]
        settings = {"backends": ",".join(urls), "retries__statuses": "503", "ejection__failures": 0}
        balancer = running.enter_context(Gunicorn(**settings))
        response = get(balancer.port)
        assert (response.status, response.body) == (503, b"busy")
