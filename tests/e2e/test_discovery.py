"""Backends that come and go without a reload: a name server and a file are followed by the whole fleet."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path

import pytest
import redis

from devtools.raw_client import RawClient
from devtools.servers import Gunicorn, Process, free_port, get, start_checker, urls
from devtools.traffic import traffic
from devtools.wait import eventually, in_time
from tests.support.nameserver import NameServer

pytestmark = pytest.mark.e2e

SERVICE = "_http._tcp.web.test"
NAME = "web.test"
#: Seconds that the name server's answers live.
TTL = 1
#: Seconds after that in which a change has reached all workers.
GRACE = 1.0


@pytest.fixture
def names(store: str) -> Iterator[NameServer]:
    with redis.Redis.from_url(store) as client, NameServer() as server:
        client.flushall()
        yield server


@contextmanager
def fleet(**settings: object) -> Iterator[tuple[Process, Gunicorn]]:
    """A checker, and a gunicorn of two workers."""
    with ExitStack() as stack:
        checker = stack.enter_context(start_checker(**settings, health__interval=1))
        balancer = stack.enter_context(Gunicorn(**settings, health__interval=1, wait=False))
        balancer.await_start(lambda: balancer.health()[0] == 200, "gunicorn serves")
        yield checker, balancer
        checker.assert_no_traceback()
        balancer.assert_no_traceback()


def doctor(balancer: Gunicorn) -> str:
    """What the doctor finds, as JSON."""
    return get(balancer.admin_port, "/api/v1/doctor").body.decode()


def point_to(server: NameServer, *ports: int) -> None:
    server.set(SERVICE, "SRV", *(f"0 1 {port} one.test." for port in ports), ttl=TTL)
    server.set("one.test", "A", "127.0.0.1", ttl=TTL)


def whole(download: RawClient) -> bool:
    body, _ = download.chunks()
    return body.endswith(b"\n")


def download_from(balancer: Gunicorn, port: int) -> RawClient:
    """A download from this backend that takes some seconds, of which the first piece has come."""
    while True:
        client = RawClient(balancer.port)
        client.send(b"GET /slow?s=3.5 HTTP/1.1\r\nHost: x\r\n\r\n")
        client.head()
        size = int(client.read_until(b"\r\n"), 16)
        said = re.fullmatch(rb"piece 1 from backend (\d+)\n", client.read(size))
        assert said
        assert client.read(2) == b"\r\n"
        if int(said[1]) == port:
            return client
        client.sock.close()


@pytest.mark.thorough
def test_a_changed_answer_is_followed_within_its_time_to_live_and_a_second(
    store: str, names: NameServer, demos: list[int]
) -> None:
    leaving, staying, coming = demos
    point_to(names, leaving, staying)
    settings = {"redis_url": store, "discovery__source": f"srv://{SERVICE}", "discovery__nameservers": names.address}
    with fleet(**settings) as (_, balancer):
        eventually(lambda: set(balancer.healths().values()) == {"up"} and len(balancer.healths()) == 2, "both are up")
        with traffic(balancer.port, rate=300) as running, download_from(balancer, leaving) as download:
            eventually(lambda: set(running.shares()) == {leaving, staying}, "both serve")
            turns = cycle([(leaving, coming), (coming, leaving)])

            def late() -> bool:
                gone, new = next(turns)
                changed = time.monotonic()
                point_to(names, staying, new)
                eventually(lambda: set(running.shares(time.monotonic() - 0.5)) == {staying, new}, "it is followed")
                deadline = changed + TTL + GRACE
                eventually(lambda: sum(running.shares(since=deadline).values()) > 100, "much is asked after that")
                return new not in running.shares(changed, deadline) or gone in running.shares(since=deadline)

            in_time(late, bool)
            assert whole(download)
        assert running.failures == []
        assert set(balancer.healths()) == {f"127.0.0.1:{port}" for port in (staying, next(turns)[0])}


@pytest.mark.long
def test_what_was_found_last_serves_on_whatever_fails_and_whoever_is_restarted(store: str, names: NameServer) -> None:
    port = free_port()
    addresses = ["127.0.0.1", "127.0.0.2"]
    names.set(NAME, "A", *addresses, ttl=TTL)
    settings = {
        "redis_url": store, "discovery__source": f"dns://{NAME}:{port}", "discovery__nameservers": names.address,
        "discovery__family": "ipv4", "health__lease": 0.5,
    }  # fmt: skip
    expected = {f"{address}:{port}": "up" for address in addresses}
    with ExitStack() as stack:
        for address in addresses:
            stack.enter_context(Process([sys.executable, "-m", "lbflask.demo.backend", str(port), "--host", address]))
        with fleet(**settings) as (checker, balancer):
            eventually(lambda: balancer.healths() == expected, "both are up")
            names.remove(NAME)
            asked = names.asked(NAME, "A")
            eventually(lambda: names.asked(NAME, "A") > asked + 1, "the name is looked for")
            failure = f"there is no name {NAME}; the 2 backends that it gave last stay"
            eventually(lambda: failure in doctor(balancer), "it is a finding")
            checker.signal(signal.SIGKILL)
            checker.wait()
            with start_checker(**settings, health__interval=1) as successor:
                eventually(lambda: "leading" in successor.output, "another leads")
                told = f"dns://{NAME}:{port}: there is no name {NAME}; its last result stays in force"
                eventually(lambda: told in successor.output, "it says why")
                assert balancer.healths().keys() == expected.keys()
                eventually(lambda: balancer.healths() == expected, "they are checked again")
                with Gunicorn(**settings, workers=1) as another:
                    assert another.healths().keys() == expected.keys()
                    assert {get(another.port).status for _ in range(4)} == {200}
                names.set(NAME, "A", addresses[1], ttl=TTL)
                eventually(lambda: set(balancer.healths()) == {f"{addresses[1]}:{port}"}, "one is gone")
                eventually(lambda: "answers again" in successor.output, "the recovery is logged")
                eventually(lambda: "has failed for" not in doctor(balancer), "it is no finding any more")
                assert successor.output.count(told) == 1
                successor.assert_no_traceback()


def test_a_file_is_followed_and_a_bad_one_changes_nothing(
    store: str, names: NameServer, demos: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "backends.toml"

    def write(content: str) -> None:
        beside = path.with_suffix(".new")
        beside.write_text(content)
        beside.rename(path)

    static, first, second = demos
    write(f'backends = ["http://127.0.0.1:{first}"]')
    settings = {"redis_url": store, "backends": urls([static]), "discovery__source": f"file:{path}"}
    with fleet(**settings) as (checker, balancer):
        eventually(lambda: set(balancer.healths()) == {f"127.0.0.1:{port}" for port in (static, first)}, "it is read")
        write(f'backends = ["http://127.0.0.1:{second}"\n')
        eventually(lambda: "is not TOML: " in checker.output, "the mistake is told")
        assert set(balancer.healths()) == {f"127.0.0.1:{port}" for port in (static, first)}
        write(f'[[backends]]\nurl = "http://127.0.0.1:{second}"\nname = "b"\nhealth = {{ path = "/status/503" }}\n')
        eventually(lambda: balancer.healths() == {f"127.0.0.1:{static}": "up", "b": "down"}, "it is checked by its own")
        assert get(balancer.port).status == 200
