"""Sticky sessions, draining and slow start on two real gunicorns, which know each other only by the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Event

import pytest
from click.testing import CliRunner

from devtools.raw_client import Answer, RawClient
from devtools.scripted_backend import Peer, ScriptedBackend
from devtools.servers import Gunicorn, get
from devtools.wait import eventually
from lbflask.cli import main
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
            if head.startswith(b"GET /slow"):
                peer.wait(go_on)
            peer.send(name[1:].encode())

    return play


@dataclass
class Town:
    """Two gunicorns of one worker each, a store, and three backends."""

    backends: dict[str, ScriptedBackend]
    balancers: tuple[Gunicorn, Gunicorn]
    store: RedisStore
    go_on: Event
    asked: int = 0

    def ask(self, cookie: str = "", target: str = "/") -> Answer:
        """By the instances in turn."""
        self.asked += 1
        with RawClient(self.balancers[self.asked % 2].port) as client:
            return client.ask(request(cookie, target))

    def session(self) -> tuple[str, str]:
        """A new session: its backend and its cookie."""
        answer = self.ask()
        return answer.body.decode(), told(answer)

    def served(self, cookie: str) -> set[tuple[str, str]]:
        """Who answers the session at both instances, and the cookies they set."""
        return {(answer.body.decode(), told(answer)) for answer in (self.ask(cookie) for _ in range(4))}

    def act(self, name: str, action: str, *, by: str = "API") -> None:
        """As an operator does at one of the instances, and until both know of it."""
        self.asked += 1
        port = self.balancers[self.asked % 2].admin_port
        if by == "API":
            assert get(port, f"/api/v1/pools/{POOL}/backends/{name}/{action}", "POST").status == 200
        else:
            result = CliRunner().invoke(main, [action, name], env={"LBFLASK_ADMIN_URL": f"http://127.0.0.1:{port}"})
            assert result.exit_code == 0, result.output
        self.await_mode(name, MODES[action])

    def forget(self, name: str) -> None:
        """As if no operator had ever set anything for the backend."""
        before = self.store.read_snapshot(POOL, NOTHING_KNOWN).overrides[name]
        assert self.store.write_override(POOL, name, before, None)
        for balancer in self.balancers:
            eventually(lambda of=balancer: self.state(of, name)["warm_percent"] == 100, f"{name} is warm")  # type: ignore[misc]

    def await_mode(self, name: str, mode: Mode) -> None:
        for balancer in self.balancers:
            eventually(lambda of=balancer: self.state(of, name)["mode"] == mode, f"{name} is known as {mode}")  # type: ignore[misc]

    def state(self, balancer: Gunicorn, name: str) -> dict[str, object]:
        """What an instance knows of the backend."""
        found: dict[str, object] = balancer.health()[1]["pools"][POOL]["states"][name]
        return found


def request(cookie: str, target: str = "/", more: str = "") -> bytes:
    sent = f"Cookie: a=1; {cookie}\r\n" if cookie else ""
    return f"GET {target} HTTP/1.1\r\nHost: a\r\n{sent}{more}\r\n".encode()


def told(answer: Answer) -> str:
    """The cookie that was set, as the client sends it back."""
    return "".join(value.decode().partition(";")[0] for value in answer.values(b"set-cookie"))


@pytest.fixture(scope="module")
def town(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with ExitStack() as running:
        go_on = Event()
        backends = {name: running.enter_context(ScriptedBackend(plays(name, go_on))) for name in NAMES}  # type: ignore[arg-type]
        listed = ", ".join(f'{{ url = "{one.url}", name = "{name}" }}' for name, one in backends.items())
        path = tmp_path_factory.mktemp("sessions") / "lbflask.toml"
        path.write_text(
            f'redis_url = "{store}"\nnamespace = "sessions"\nbackends = [{listed}]\nslow_start = 3600\n'
            '[sticky]\ncookie = "LB"\n'
        )
        balancers = tuple(running.enter_context(Gunicorn(workers=1, config=path)) for _ in range(2))
        client = running.enter_context(connect(store, 10.0))
        town = Town(backends, balancers, RedisStore(client, "sessions"), go_on)  # type: ignore[arg-type]
        yield town
        go_on.set()
        for balancer in balancers:
            balancer.assert_no_traceback()


@pytest.fixture(autouse=True)
def as_configured(town: Town) -> Iterator[None]:
    yield
    for name in town.store.read_snapshot(POOL, NOTHING_KNOWN).overrides:
        town.forget(name)


def test_a_session_stays_at_both_instances_whoever_set_its_cookie(town: Town) -> None:
    sessions = [town.session() for _ in range(6)]
    assert Counter(home for home, _ in sessions) == dict.fromkeys(NAMES, 2)
    for home, cookie in sessions:
        assert town.served(cookie) == {(home, "")}


def test_a_forged_cookie_is_replaced_and_steers_nothing(town: Town) -> None:
    _, cookie = town.session()
    forged = cookie[:-5] + "AAAAA"
    answers = [town.ask(forged) for _ in range(6)]
    assert Counter(answer.body.decode() for answer in answers) == dict.fromkeys(NAMES, 2)
    assert all(told(answer) for answer in answers)


def test_an_upgrade_has_a_session_too(town: Town) -> None:
    """RFC 6455 §4.2.2 lets the answer to a handshake set cookies."""
    upgrade = "Connection: upgrade\r\nUpgrade: x-echo/1\r\n"
    with RawClient(town.balancers[0].port) as client:
        client.send(request("", more=upgrade))
        head = client.head()
        name = client.read_until(b"\n").decode().strip()
    assert (head.status, head.values(b"upgrade")) == (101, [b"x-echo/1"])
    assert town.served(told(head)) == {(name, "")}
    with RawClient(town.balancers[1].port) as client:
        client.send(request(told(head), more=upgrade))
        assert told(client.head()) == ""
        assert client.read_until(b"\n").decode().strip() == name


def test_draining_keeps_sessions_off_ends_them_and_what_is_in_flight_ends_by_itself(town: Town) -> None:
    home, cookie = town.session()
    with RawClient(town.balancers[0].port) as slow:
        slow.send(request(cookie, "/slow"))
        assert slow.head().status == 200
        town.act(home, "drain")
        assert town.served(cookie) == {(home, "")}
        assert home not in {town.session()[0] for _ in range(6)}
        town.act(home, "off")
        moved = town.ask(cookie)
        assert moved.body.decode() != home
        assert town.served(told(moved)) == {(moved.body.decode(), "")}
        # A request counts until its worker has finished with it, which may be after its client has the answer.
        eventually(lambda: town.state(town.balancers[0], home)["in_flight"] == 1, "one is in flight there")
        town.go_on.set()
        assert slow.read(len(home)) == home.encode()
    eventually(lambda: town.state(town.balancers[0], home)["in_flight"] == 0, "nothing is in flight there")
    town.act(home, "enable")
    assert town.served(told(moved)) == {(moved.body.decode(), "")}


@pytest.mark.parametrize("by", ["API", "CLI"])
@pytest.mark.parametrize("before", ["drain", "off"])
def test_a_backend_that_is_enabled_warms_up_at_both_instances(town: Town, by: str, before: str) -> None:
    """Slow start is an hour here, so nothing of it passes during the test."""
    town.act("one", before, by=by)
    town.act("one", "enable", by=by)
    for balancer in town.balancers:
        assert town.state(balancer, "one")["warm_percent"] == 10
    homes = Counter(town.session()[0] for _ in range(42))
    assert homes["one"] in (1, 2, 3)  # a cycle has 21 turns
    assert homes["two"] == pytest.approx(homes["three"], abs=1)


def test_a_session_whose_backend_dies_moves_once(town: Town) -> None:
    """The last test: it is gone for good."""
    home, cookie = town.session()
    town.backends[home].stop()
    moved = town.ask(cookie)
    assert moved.status == 200
    assert moved.body.decode() != home
    assert town.served(told(moved)) == {(moved.body.decode(), "")}
