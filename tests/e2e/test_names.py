"""Names that no server answers: they cost their requests a bounded time, and other pools nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from devtools.cluster import Cluster
from devtools.raw_client import RawClient
from devtools.scripted_backend import OK, Peer, ScriptedBackend
from devtools.wait import eventually
from tests.support.selection import first_of

pytestmark = pytest.mark.e2e

#: More than gevent has threads by default.
SLOW_NAMES = 24
CONNECT = 0.5

#: Loaded by Python when it starts, before gevent takes hold of anything: the system's resolver as the test wants it.
SLOW_RESOLVER = """
import _socket, os
from time import sleep

system, here = _socket.getaddrinfo, os.path.dirname(__file__)

def getaddrinfo(host, *arguments, **named):
    name = host.decode() if isinstance(host, bytes) else str(host)
    with open(os.path.join(here, "asked"), "a") as asked:
        asked.write(name + "\\n")
    while name.endswith(".slow.test") and os.path.exists(os.path.join(here, "held")):
        sleep(0.02)
    if name.endswith(".test"):
        raise _socket.gaierror(_socket.EAI_AGAIN, "Temporary failure in name resolution")
    return system(host, *arguments, **named)

_socket.getaddrinfo = getaddrinfo
"""


def closing(peer: Peer) -> None:
    """Each request over a new connection."""
    peer.read_request()
    peer.send(OK)


class NamesCluster(Cluster):
    """An instance of one worker whose system resolver notes each lookup in the `directory`."""

    def __init__(self, directory: Path, *arguments: str, **settings: object) -> None:
        environ = {"PYTHONPATH": str(directory)}
        super().__init__(workers=1, backends=(), arguments=arguments, environ=environ, **settings)
        self.directory = directory

    def send_request(self, host: str) -> RawClient:
        client = RawClient(self.balancer.port)
        client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return client

    def status(self, host: str) -> int:
        with self.send_request(host) as client:
            return client.answer().status

    def lookups(self) -> list[str]:
        return (self.directory / "asked").read_text().split()


@pytest.fixture(params=first_of(["lbflask.worker.ProxyWorker", "gevent", "gthread"]))
def cluster(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Iterator[NamesCluster]:
    (tmp_path / "sitecustomize.py").write_text(SLOW_RESOLVER)
    (tmp_path / "asked").touch()
    (tmp_path / "held").touch()
    with ExitStack() as running:
        backend = running.enter_context(ScriptedBackend(closing))
        slow = ", ".join(f'"http://n{number}.slow.test:80"' for number in range(SLOW_NAMES))
        file = tmp_path / "lbflask.toml"
        file.write_text(
            f"""
            backends = ["http://127.1:{backend.port}"]
            ejection = {{ failures = 0 }}
            timeouts = {{ connect = {CONNECT} }}
            pools.slow.backends = [{slow}]
            pools.slow.ejection.failures = 0
            pools.named.backends = ["http://localhost:{backend.port}"]
            routes = [
                {{ name = "slow", match = {{ host = "slow.example" }}, pool = "slow" }},
                {{ name = "named", match = {{ host = "named.example" }}, pool = "named" }},
                {{ name = "rest", pool = "default" }},
            ]
            """
        )
        arguments = ("-k", request.param, *(("--threads", "64") if request.param == "gthread" else ()))
        yield running.enter_context(NamesCluster(tmp_path, *arguments, redis_url=redis_url, config=file))
        (tmp_path / "held").unlink(missing_ok=True)


@pytest.mark.sampled(1, 2)
def test_slow_names_delay_no_other_pool(cluster: NamesCluster) -> None:
    with ExitStack() as running:
        asking = [running.enter_context(cluster.send_request("slow.example")) for _ in range(SLOW_NAMES)]
        eventually(lambda: len(set(cluster.lookups())) >= SLOW_NAMES, "all the slow names are being looked up")
        # No lookup ends before the test does.
        assert cluster.status("shop.example") == 200
        assert cluster.status("named.example") == 200
        assert {client.answer().status for client in asking} == {504}
    slow = [name for name in cluster.lookups() if name.endswith(".slow.test")]
    assert len(slow) == len(set(slow)), "each is looked up once, however many wait for it"


@pytest.mark.sampled(1, 3)
@pytest.mark.long
def test_a_name_is_not_looked_up_for_each_connection(cluster: NamesCluster) -> None:
    before = cluster.lookups().count("localhost")
    assert {cluster.status("named.example") for _ in range(100)} == {200}
    assert cluster.lookups().count("localhost") - before <= 20


@pytest.mark.sampled(1, 3)
@pytest.mark.long
def test_an_address_is_never_looked_up(cluster: NamesCluster) -> None:
    """Here in a spelling that nothing else on this machine uses."""
    assert {cluster.status("shop.example") for _ in range(10)} == {200}
    assert "127.1" not in cluster.lookups()
