"""Sticky sessions, draining and slow start on two real gunicorns, which know each other only by the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from threading import Event, Thread

import pytest

from devtools.cluster import Cluster
from devtools.raw_client import RawClient, RawResponse
from devtools.scripted_backend import Peer, ScriptedBackend
from devtools.wait import PATIENCE, eventually
from lbflask.cli.context import TIMED_OUT
from lbflask.core.model import NOTHING_KNOWN, Mode
from lbflask.store.redis import RedisStore, connect

pytestmark = pytest.mark.e2e

NAMES = ("one", "two", "three")
POOL = "default"
#: What an operator does, and the mode that follows.
MODES = {"drain": Mode.DRAINING, "off": Mode.OFF, "enable": Mode.SERVING}
SWITCHED = b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x-echo/1\r\n\r\n"


def plays(name: str, go_on: Event) -> object:
    """A backend that answers with its name: half of it at first for /slow, and by a switch to another protocol."""
    body = b"Content-Length: %d\r\n\r\n" % len(name)

    def play(peer: Peer) -> None:
        while head := peer.read_head():
            assert b"LB=" not in head
            if b"\r\nUpgrade:" in head:
                peer.send(SWITCHED)
                peer.send(name.encode() + b"\n")
                peer.read_to_end()
                return
            peer.send(b"HTTP/1.1 200 OK\r\n" + body + name[:1].encode())
            if b" /slow " in head:
                peer.wait(go_on)
            peer.send(name[1:].encode())

    return play


class SessionCluster(Cluster):
    """Two instances of one worker each before three named backends. Requests go to the instances in turn."""

    def __init__(self, backends: dict[str, ScriptedBackend], go_on: Event, **settings: object) -> None:
        super().__init__(2, 1, (), **settings)
        self.backends = backends
        self.go_on = go_on
        self._turns = count()
        self.facts = RedisStore(self.running.enter_context(connect(self.redis_url, PATIENCE)), "sessions")

    def request(self, cookie: str = "", target: str = "/") -> RawResponse:
        with RawClient(self.balancers[next(self._turns) % 2].port) as client:
            return client.ask(request(cookie, target))

    def session(self) -> tuple[str, str]:
        """A new session: its backend and its cookie."""
        answer = self.request()
        return answer.body.decode(), cookie_set_by(answer)

    def served(self, cookie: str) -> set[tuple[str, str]]:
        """The backends that serve the session at both instances, and the cookies that they set."""
        return {(answer.body.decode(), cookie_set_by(answer)) for answer in (self.request(cookie) for _ in range(4))}

    def set_mode(self, name: str, action: str, *, by: str = "API") -> None:
        """Act as an operator at one of the instances, and wait until both know of it."""
        instance = next(self._turns) % 2
        if by == "API":
            self.act(name, action, instance=instance)
        else:
            self.command(action, name, instance=instance)
        eventually(lambda: all(states[name]["mode"] == MODES[action] for states in self.states()), f"{action} is known")

    def remove_override(self, name: str) -> None:
        """Restore the configuration of the backend."""
        before = self.facts.read_snapshot(POOL, NOTHING_KNOWN).overrides[name]
        assert self.facts.write_override(POOL, name, before, None)
        eventually(lambda: all(states[name]["warm_percent"] == 100 for states in self.states()), f"{name} is warm")


def request(cookie: str, target: str = "/", more: str = "") -> bytes:
    sent = f"Cookie: a=1; {cookie}\r\n" if cookie else ""
    return f"GET {target} HTTP/1.1\r\nHost: a\r\n{sent}{more}\r\n".encode()


def cookie_set_by(answer: RawResponse) -> str:
    """The cookie that was set, as the client sends it back."""
    return "".join(value.decode().partition(";")[0] for value in answer.values(b"set-cookie"))


@pytest.fixture(scope="module")
def cluster(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SessionCluster]:
    with ExitStack() as running:
        go_on = Event()
        backends = {name: running.enter_context(ScriptedBackend(plays(name, go_on))) for name in NAMES}  # type: ignore[arg-type]
        listed = ", ".join(f'{{ url = "{one.url}", name = "{name}" }}' for name, one in backends.items())
        path = tmp_path_factory.mktemp("sessions") / "lbflask.toml"
        # Strict tickets: blocks leased under the load of one test would be used up in the next, out of order
        settings = f'namespace = "sessions"\nbackends = [{listed}]\nslow_start = 3600\ntickets = "strict"\n'
        path.write_text(f'{settings}[sticky]\ncookie = "LB"\n')
        yield running.enter_context(SessionCluster(backends, go_on, redis_url=store, config=path))
        go_on.set()


@pytest.fixture(autouse=True)
def as_configured(cluster: SessionCluster) -> Iterator[None]:
    yield
    for name in cluster.facts.read_snapshot(POOL, NOTHING_KNOWN).overrides:
        cluster.remove_override(name)


def test_a_session_stays_at_both_instances_whoever_set_its_cookie(cluster: SessionCluster) -> None:
    sessions = [cluster.session() for _ in range(6)]
    assert Counter(home for home, _ in sessions) == dict.fromkeys(NAMES, 2)
    for home, cookie in sessions:
        assert cluster.served(cookie) == {(home, "")}


def test_a_forged_cookie_is_replaced_and_steers_nothing(cluster: SessionCluster) -> None:
    _, cookie = cluster.session()
    forged = cookie[:-5] + "AAAAA"
    answers = [cluster.request(forged) for _ in range(6)]
    assert Counter(answer.body.decode() for answer in answers) == dict.fromkeys(NAMES, 2)
    assert all(cookie_set_by(answer) for answer in answers)


def test_an_upgrade_has_a_session_too(cluster: SessionCluster) -> None:
    """RFC 6455 §4.2.2 lets the answer to a handshake set cookies."""
    upgrade = "Connection: upgrade\r\nUpgrade: x-echo/1\r\n"
    with RawClient(cluster.balancers[0].port) as client:
        client.send(request("", more=upgrade))
        head = client.head()
        name = client.read_until(b"\n").decode().strip()
    assert (head.status, head.values(b"upgrade")) == (101, [b"x-echo/1"])
    assert cluster.served(cookie_set_by(head)) == {(name, "")}
    with RawClient(cluster.balancers[1].port) as client:
        client.send(request(cookie_set_by(head), more=upgrade))
        assert cookie_set_by(client.head()) == ""
        assert client.read_until(b"\n").decode().strip() == name


def test_draining_keeps_sessions_off_ends_them_and_what_is_in_flight_ends_by_itself(cluster: SessionCluster) -> None:
    home, cookie = cluster.session()
    with RawClient(cluster.balancers[0].port) as slow:
        slow.send(request(cookie, "/slow"))
        assert slow.head().status == 200
        cluster.set_mode(home, "drain")
        assert cluster.served(cookie) == {(home, "")}
        assert home not in {cluster.session()[0] for _ in range(6)}
        cluster.set_mode(home, "off")
        moved = cluster.request(cookie)
        assert moved.body.decode() != home
        assert cluster.served(cookie_set_by(moved)) == {(moved.body.decode(), "")}
        # A request counts until its worker has finished with it, which may be after its client has the answer.
        eventually(lambda: cluster.states()[0][home]["in_flight"] == 1, "one is in flight there")
        cluster.go_on.set()
        assert slow.read(len(home)) == home.encode()
    eventually(lambda: cluster.states()[0][home]["in_flight"] == 0, "nothing is in flight there")
    cluster.set_mode(home, "enable")
    assert cluster.served(cookie_set_by(moved)) == {(moved.body.decode(), "")}


class StickyClients:
    """Clients of one session, at both instances, almost without a pause."""

    def __init__(self, cluster: SessionCluster, cookie: str) -> None:
        self._cluster, self._cookie = cluster, cookie
        self._ends = Event()
        self.served: Counter[str] = Counter()
        self._threads = [Thread(target=self._send, args=(balancer.port,)) for balancer in cluster.balancers]
        for thread in self._threads:
            thread.start()

    def _send(self, port: int) -> None:
        while not self._ends.wait(0.01):
            with RawClient(port) as client:
                self.served[client.ask(request(self._cookie)).body.decode()] += 1

    def end(self) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join(PATIENCE)


@pytest.mark.long
def test_drain_waits_for_sticky_sessions_and_off_moves_them(cluster: SessionCluster) -> None:
    """Their requests are short: between two samples none is in flight. A request in flight keeps its backend."""
    home, cookie = cluster.session()
    cluster.go_on.clear()
    clients = StickyClients(cluster, cookie)
    try:
        with RawClient(cluster.balancers[0].port) as slow:
            shown = cluster.command("drain", home, "--wait", "--timeout", "5", code=TIMED_OUT)
            assert f"requests/s; `lbflask off {home}` moves them" in shown
            assert "not quiet after 5 s" in shown
            assert "0 in flight" not in shown.splitlines()[-1]
            slow.send(b"POST /slow HTTP/1.1\r\nHost: a\r\nCookie: %s\r\nContent-Length: 0\r\n\r\n" % cookie.encode())
            assert slow.head().status == 200
            shown = cluster.command("off", home, "--wait", "--timeout", "3", code=TIMED_OUT)
            assert "1 in flight" in shown.splitlines()[-1]
            cluster.go_on.set()
            assert slow.read(len(home)) == home.encode()
        assert "is off: nothing is in flight" in cluster.command("off", home, "--wait", "--timeout", "60")
        before = clients.served[home]
        eventually(lambda: clients.served.total() > before + 20, "the clients go on elsewhere")
        assert clients.served[home] == before
    finally:
        clients.end()
        cluster.go_on.set()


@pytest.mark.parametrize("by", ["API", "CLI"])
@pytest.mark.parametrize("before", ["drain", "off"])
@pytest.mark.sampled(3, 1)
def test_a_backend_that_is_enabled_warms_up_at_both_instances(cluster: SessionCluster, by: str, before: str) -> None:
    """Slow start is an hour here, so nothing of it passes during the test."""
    cluster.set_mode("one", before, by=by)
    cluster.set_mode("one", "enable", by=by)
    assert [states["one"]["warm_percent"] for states in cluster.states()] == [10, 10]
    homes = Counter(cluster.session()[0] for _ in range(42))
    assert homes["one"] in (1, 2, 3)  # a cycle has 21 turns
    assert homes["two"] == pytest.approx(homes["three"], abs=1)


def test_a_session_whose_backend_dies_moves_once(cluster: SessionCluster) -> None:
    """The last test: it is gone for good."""
    home, cookie = cluster.session()
    cluster.backends[home].stop()
    moved = cluster.request(cookie)
    assert moved.status == 200
    assert moved.body.decode() != home
    assert cluster.served(cookie_set_by(moved)) == {(moved.body.decode(), "")}
