"""Several checkers: one leads, another takes over in time, a frozen one overwrites nothing, and none is needed."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from devtools.certificates import Authority
from devtools.monitor import WriteMonitor
from devtools.scripted_backend import ScriptedBackend, answering_always
from devtools.servers import Gunicorn, Process, free_port, get, start_checker, start_demo, urls
from devtools.wait import eventually, in_time
from lbflask.cli import main
from lbflask.core.model import ActiveHealth
from lbflask.store import records
from lbflask.store.keys import PoolKeys
from lbflask.store.snapshots import UNREADABLE

pytestmark = pytest.mark.e2e

KEYS = PoolKeys("lbflask", "default")
#: Seconds after the end of the lease in which a successor has written.
GRACE = 1.0


@pytest.fixture
def client(store: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(store, decode_responses=True) as client:
        client.flushall()
        yield client


@contextmanager
def checkers(count: int, **settings: object) -> Iterator[list[Process]]:
    with ExitStack() as stack:
        yield [stack.enter_context(start_checker(**settings)) for _ in range(count)]


def leader(client: redis.Redis, running: list[Process]) -> Process:
    """The checker that leads, by what it has written of itself: host, pid and chance."""

    def found() -> list[Process]:
        # Nobody leads for a moment when a lease runs out.
        holder = client.get(KEYS.leader) or "::"
        return [checker for checker in running if str(checker.pid) == holder.split(":")[-2]]

    return eventually(found, "one leads")[0]


def active(client: redis.Redis) -> dict[str, ActiveHealth]:
    return {
        backend: records.parse_active(record) or UNREADABLE for backend, record in client.hgetall(KEYS.active).items()
    }


def server_time(client: redis.Redis) -> float:
    seconds, micros = client.time()
    return float(seconds) + float(micros) / 1_000_000


def latest_word(client: redis.Redis) -> float:
    """When a checker wrote last, by the store's clock."""
    return int(client.get(KEYS.heartbeat).split(":")[0]) / 1000


def reasons_in(client: redis.Redis) -> set[str]:
    return {state.reason for state in active(client).values()}


@contextmanager
def silent_backend() -> Iterator[int]:
    """The port of a backend that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield listener.getsockname()[1]


def test_each_backend_is_checked_as_its_table_says(
    store: str, client: redis.Redis, demos: list[int], tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    with ScriptedBackend(answering_always(), tls=authority.server("127.0.0.1")) as secure:
        plain, broken, moved = demos
        file = tmp_path / "lbflask.toml"
        file.write_text(f"""
            redis_url = "{store}"
            backends = [
                "http://127.0.0.1:{plain}",
                {{ url = "http://127.0.0.1:{broken}", health = {{ path = "/status/503" }} }},
                {{ url = "http://127.0.0.1:{free_port()}", name = "moved", health = {{ port = {moved} }} }},
                {{ url = "http://127.0.0.1:{moved}", name = "tcp", health = {{ kind = "tcp" }} }},
                {{ url = "{secure.url}", name = "secure", health = {{ expect_body = "^ok$" }} }},
                {{ url = "https://127.0.0.1:{plain}", name = "no-tls" }},
            ]
            [backend_tls]
            ca_file = "{authority.ca_file}"
            [health]
            interval = 0.5
            path = "/echo"
            host = "probe.example"
            headers = ["X-Probe: yes"]
            expect_status = "200-299"
            expect_body = "(?s)GET /echo HTTP/1.1.*Host: probe.example.*X-Probe: yes|^ok$"
        """)
        with checkers(1, config=file) as (checker,):
            eventually(lambda: len(active(client)) == 6, "all are checked")
            seen = {backend: (state.health.value, state.reason) for backend, state in active(client).items()}
            health, reason = seen.pop("no-tls")
            assert health == "down"
            assert reason.startswith("the TLS handshake failed: ")
            assert seen == {
                f"127.0.0.1:{plain}": ("up", "status 200, body as expected"),
                f"127.0.0.1:{broken}": ("down", "status 503, expected 200-299"),
                "moved": ("up", "status 200, body as expected"),
                "tcp": ("up", "connected"),
                "secure": ("up", "status 200, body as expected"),
            }
            told = f"backend 127.0.0.1:{broken} is down, was checking: status 503, expected 200-299"
            eventually(lambda: checker.output.count(told) == 1, "the change is logged, once")
            assert checker.stop() == 0
            assert checker.output.count(told) == 1
            checker.assert_no_traceback()


@pytest.mark.parametrize("lease", [3, 1])
@pytest.mark.sampled(2)
def test_a_successor_writes_within_the_lease_and_a_second(
    store: str, client: redis.Redis, demos: list[int], lease: int
) -> None:
    """Though a backend of the pool hangs, so that a whole round takes longer than that."""
    with silent_backend() as silent:
        settings = {
            "redis_url": store, "backends": urls([*demos, silent]), "health__interval": 1, "health__lease": lease,
            "health__path": "/", "health__timeout": 5, "health__fall": 1,
        }  # fmt: skip
        with checkers(3, **settings) as running, ExitStack() as more:
            eventually(lambda: len(active(client)) == 4, "the first round is over")
            known = {backend: state.health.value for backend, state in active(client).items()}
            assert sorted(known.values()) == ["down", "up", "up", "up"]

            def seconds_to_the_next_word() -> float:
                first = leader(client, running)
                epoch = int(client.get(KEYS.epoch))
                killed = server_time(client)
                first.signal(signal.SIGKILL)
                first.wait()
                eventually(lambda: int(client.get(KEYS.epoch)) > epoch, "another leads")
                taken = int(client.get(KEYS.epoch)) / 1_000_000
                word = eventually(lambda: latest_word(client) > taken - 0.001 and latest_word(client), "it writes")
                assert {backend: state.health.value for backend, state in active(client).items()} == known
                second = leader(client, running)
                assert second is not first
                eventually(lambda: "leading, epoch" in second.output, "its log has it")
                running.append(more.enter_context(start_checker(**settings)))  # in the place of the first
                return word - killed

            in_time(seconds_to_the_next_word, late=lambda seconds: seconds >= lease + GRACE)
            for checker in running:
                checker.assert_no_traceback()


@pytest.mark.long
def test_not_one_write_of_a_leader_that_was_frozen_lands(store: str, client: redis.Redis, demos: list[int]) -> None:
    """Frozen, replaced and thawed, several times over. Each sees the backends in its own way, so that it would show."""
    common = {"redis_url": store, "backends": urls(demos), "health__interval": 0.2, "health__lease": 0.5}
    with (
        WriteMonitor(store) as monitor,
        checkers(1, **common, health__path="/status/200") as first,
        checkers(1, **common, health__path="/status/204") as second,
    ):
        running = {first[0]: {"status 200"}, second[0]: {"status 204"}}
        eventually(lambda: len(active(client)) == 3, "the first round is over")
        for _ in range(4):
            frozen = leader(client, list(running))
            ((other, reasons),) = [pair for pair in running.items() if pair[0] is not frozen]
            frozen.signal(signal.SIGSTOP)
            eventually(lambda: leader(client, list(running)) is other, "the other leads")  # noqa: B023
            eventually(lambda: reasons_in(client) == reasons, "the other has written")  # noqa: B023
            told = frozen.output.count("standing by")
            frozen.signal(signal.SIGCONT)
            eventually(lambda: frozen.output.count("standing by") > told, "it has noticed")  # noqa: B023
            assert reasons_in(client) == reasons
        eventually(lambda: len(set(monitor.applied)) >= 5, "all of it was seen")
        for checker in running:
            eventually(lambda: "no longer leading" in checker.output, "it has noticed")  # noqa: B023
            checker.assert_no_traceback()
    assert monitor.applied == sorted(monitor.applied), "a write of an epoch landed after one of a later epoch"


@pytest.mark.long
def test_traffic_flows_without_any_checker(store: str, client: redis.Redis, demos: list[int]) -> None:
    """What nobody speaks of any more is unknown, and may serve: also what was down, and is up again meanwhile."""
    late = free_port()
    settings = {"redis_url": store, "backends": urls([*demos, late]), "health__interval": 0.5}
    settings["ejection__failures"] = 0  # which would take the place of the checkers
    with checkers(2, **settings) as running, Gunicorn(**settings, workers=1) as balancer:
        eventually(lambda: sorted(balancer.healths().values()) == ["down", "up", "up", "up"], "one is down")
        for checker in running:
            checker.signal(signal.SIGKILL)
        eventually(lambda: set(balancer.healths().values()) == {"unknown"}, "all are unknown")
        status, document = balancer.health()
        assert (status, document["pools"]["default"]["serving"]) == (200, 4)
        assert {get(balancer.port).status for _ in range(20)} == {200}
        with start_demo(late):
            said = {get(balancer.port).body for _ in range(20)}
        assert said == {f"hello from backend {port}\n".encode() for port in (*demos, late)}
        balancer.assert_no_traceback()


@pytest.mark.long
def test_a_backend_that_the_leading_checker_does_not_know_is_found_by_the_doctor(
    store: str, demos: list[int], client: redis.Redis
) -> None:
    settings = {"redis_url": store, "health__interval": 0.3, "health__timeout": 0.2}
    with (
        start_checker(backends=urls(demos[:1]), **settings) as checker,
        Gunicorn(workers=1, backends=urls(demos[:2]), **settings) as balancer,
    ):
        url, told = f"http://127.0.0.1:{balancer.admin_port}", ""

        def stays_checking() -> bool:
            nonlocal told
            told = CliRunner().invoke(main, ["doctor", "--url", url]).output
            return "has reported no check of it" in told

        eventually(stays_checking, "it is told")
        (line,) = (line for line in told.splitlines() if "has reported no check of it" in line)
        assert f"backend 127.0.0.1:{demos[1]}: checking for " in line
        assert f":{checker.pid}:" in line, "the checker that leads is named"
