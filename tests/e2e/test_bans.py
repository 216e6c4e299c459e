"""Bans reach all instances, and rules ban an attacker who spreads over them."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from devtools.scripted_backend import Peer, ScriptedBackend
from devtools.servers import Gunicorn, get
from devtools.wait import PATIENCE, eventually

pytestmark = pytest.mark.e2e

INSTANCES, WORKERS, COUNT = 4, 2, 20
FILE = """
namespace = "{name}"
backends = ["{url}"]
trusted_proxies = ["127.0.0.1"]
access_log = ""

[bans.login]
statuses = [401]
count = {count}
within = "1h"
for = "1h"
exempt = ["203.0.113.99"]
"""


class Login:
    """A backend that refuses all passwords, and counts the attempts that reach it: 401 for /login, else 200."""

    def __init__(self) -> None:
        self.attempts: Counter[str] = Counter()  #: by client
        self._lock = threading.Lock()

    def answer(self, peer: Peer) -> None:
        while head := peer.read_head():
            status = b"200 OK"
            if head.split(b" ")[1] == b"/login":
                status = b"401 Unauthorized"
                (client,) = re.findall(rb"(?i)\r\nX-Forwarded-For: ([^\r,]*)", head)
                with self._lock:
                    self.attempts[client.decode()] += 1
            peer.send(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % status)


@dataclass(frozen=True, slots=True)
class Fleet:
    instances: list[Gunicorn]
    login: Login

    def statuses(self, client: str, path: str = "/") -> set[int]:
        """What this client gets at all instances, over connections to several workers of each."""
        claims = {"X-Forwarded-For": client}
        return {get(one.port, path, headers=claims).status for one in self.instances for _ in range(3 * WORKERS)}

    def operate(self, path: str, **body: object) -> dict[str, object]:
        json_body = {"Content-Type": "application/json"}
        response = get(self.instances[0].admin_port, f"/api/v1{path}", "POST", json_body, json.dumps(body))
        assert response.status == 200, response.body
        found: dict[str, object] = json.loads(response.body)
        return found

    def read(self, path: str) -> list[dict[str, object]]:
        """A list, as the last instance gives it."""
        found: list[dict[str, object]] = json.loads(get(self.instances[-1].admin_port, f"/api/v1/{path}").body)[path]
        return found


@pytest.fixture(scope="module")
def fleet(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("bans")
    with ExitStack() as stack:
        login = Login()
        backend = stack.enter_context(ScriptedBackend(login.answer))
        file = Path(directory, "lbflask.toml")
        file.write_text(FILE.format(name=directory.name, url=backend.url, count=COUNT))
        instances = [
            Gunicorn(workers=WORKERS, config=file, redis_url=store, wait=False, instance=f"i{number}")
            for number in range(INSTANCES)
        ]
        for one in instances:
            stack.enter_context(one)
        for one in instances:
            one.await_ready()
        yield Fleet(instances, login)
        for one in instances:
            one.assert_no_traceback()


def test_an_operator_bans_a_network_at_all_instances_and_lets_it_in_again(fleet: Fleet) -> None:
    assert fleet.statuses("198.51.100.7") == {200}
    assert fleet.operate("/bans", network="198.51.100.0/24", seconds=600, reason="scraper")["changed"]
    eventually(lambda: fleet.statuses("198.51.100.7") == {403}, "the ban is known everywhere")
    assert fleet.statuses("198.51.101.7") == {200}
    assert fleet.statuses("198.51.100.7", "/health") == {200}
    assert [one["reason"] for one in fleet.read("bans") if one["network"] == "198.51.100.0/24"] == ["scraper"]
    assert fleet.operate("/bans/end", network="198.51.100.0/24")["changed"]
    eventually(lambda: fleet.statuses("198.51.100.7") == {200}, "its end is known everywhere")
    assert [one["what"] for one in fleet.read("events") if one["kind"] == "ban"][:2] == ["unban", "ban"]


def attack(ports: list[int], client: str) -> Counter[int]:
    """Log in over one connection to each of the ports at once, until it is refused. Returns the statuses."""
    found: Counter[int] = Counter()
    lock, together = threading.Lock(), threading.Barrier(len(ports), timeout=PATIENCE)

    def run(port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.connect()
        together.wait()
        for _ in range(2 * COUNT + 20):
            connection.request("GET", "/login", headers={"X-Forwarded-For": client})
            response = connection.getresponse()
            response.read()
            with lock:
                found[response.status] += 1
            if response.status == 403:
                break
        connection.close()

    threads = [threading.Thread(target=run, args=(port,)) for port in ports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    return found


@pytest.mark.parametrize(("client", "per_worker"), [("203.0.113.7", 1), ("203.0.113.17", 4)])
def test_an_attacker_over_all_instances_gets_as_many_attempts_as_the_rule_says(
    fleet: Fleet, client: str, per_worker: int
) -> None:
    """And one more for each request that is in flight meanwhile: for each worker, if it has one at a time."""
    ports = [one.port for one in fleet.instances for _ in range(WORKERS * per_worker)]
    found = attack(ports, client)
    assert COUNT <= found[401] <= COUNT + len(ports), found
    assert fleet.login.attempts[client] == found[401], "each attempt that reached the backend was answered"
    assert found[403] == len(ports)
    assert fleet.statuses(client) == {403}
    assert fleet.statuses("203.0.113.8") == {200}
    (ban,) = [one for one in fleet.read("bans") if one["network"] == client]
    assert ban["rule"] == "login"
    events = [one for one in fleet.read("events") if f"{client} " in str(one["reason"])]
    assert len(events) == 1


def test_no_instance_alone_gets_as_many_attempts(fleet: Fleet) -> None:
    """One attempt after another, each at the next instance: only all of them together count up to the rule."""
    client, found = "203.0.113.27", dict.fromkeys(range(INSTANCES), 0)
    for number in range(4 * COUNT):
        instance = number % INSTANCES
        status = get(fleet.instances[instance].port, "/login", headers={"X-Forwarded-For": client}).status
        if status == 403:
            break
        assert status == 401
        found[instance] += 1
    assert COUNT <= sum(found.values()) <= COUNT + INSTANCES * WORKERS
    assert max(found.values()) < COUNT
    assert fleet.login.attempts[client] == sum(found.values())


def test_a_client_that_is_exempt_is_not_banned(fleet: Fleet) -> None:
    found = attack([fleet.instances[0].port], "203.0.113.99")
    assert set(found) == {401}
