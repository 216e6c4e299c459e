"""What only a server can do: be gone, be silent, be frozen, hold what we did not write."""

from __future__ import annotations

import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devtools.servers import Process, free_port, listens, require
from devtools.wait import eventually
from lbflask.core.ejection import EjectionPolicy, FailureReport
from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Health, Override
from lbflask.core.printable import printable
from lbflask.core.rate_limit import RateLimit
from lbflask.core.slots import BackendSlots, SlotDemand
from lbflask.store import records
from lbflask.store.embedded import NoServer, find_binary
from lbflask.store.keys import PoolKeys
from lbflask.store.ports import Beat, HealthWrite, StoreUnavailable, StoreWatch
from lbflask.store.redis import RedisStore, connect
from lbflask.store.scripts import TEXTS
from tests.store.stores import PATIENCE, real_redis

POOL = "web"
UP = ActiveHealth(Health.UP)

#: Every trip to the server that a store knows.
LIMIT = RateLimit("api", 1, 60, 1)
TRIPS: dict[str, Callable[[RedisStore], object]] = {
    "prove": lambda store: store.prove(POOL),
    "take_tickets": lambda store: store.take_tickets(POOL, 1),
    "return_tickets": lambda store: store.return_tickets(POOL, 0, 1),
    "read_snapshot": lambda store: store.read_snapshot(POOL, NOTHING_KNOWN),
    "report_suspect": lambda store: store.report_suspect(POOL, "a"),
    "hold_lease": lambda store: store.hold_lease(POOL, "a", 600),
    "drop_lease": lambda store: store.drop_lease(POOL, "a"),
    "write_active": lambda store: store.write_active(POOL, HealthWrite(1, {"a": UP}, interval=1)),
    "count_failures": lambda store: store.count_failures(POOL, "a", FailureReport(1, 1, 1), EjectionPolicy(("a", "b"))),
    "hold_probe": lambda store: store.hold_probe(POOL, "worker", 600),
    "settle_ejection": lambda store: store.settle_ejection(POOL, "a", 1.5, back=True, rule=EjectionPolicy()),
    "beat": lambda store: store.beat(POOL, "worker", Beat({"a": 1}, {"a": 1}), read=True),
    "leave": lambda store: store.leave(POOL, "worker"),
    "hold_slots": lambda store: store.hold_slots(POOL, "worker", SlotDemand([BackendSlots("a", 1, 2)])),
    "take_token": lambda store: store.take_token(LIMIT, "a"),
    "write_override": lambda store: store.write_override(POOL, "a", None, Override(weight=2)),
    "agree_on_secret": lambda store: store.agree_on_secret(POOL, "secret-of-the-fleet"),
    "write_configuration": lambda store: store.write_configuration("abc", "{}"),
    "read_configuration": lambda store: store.read_configuration("abc"),
    "write_discovered": lambda store: store.write_discovered(POOL, 1, []),
    "write_source": lambda store: store.write_source(POOL, 1, None),
    "read_certificates": lambda store: store.read_certificates(-1),
    "write_certificates": lambda store: store.write_certificates(1, {"account": b"a"}),
    "wish_certificates": lambda store: store.wish_certificates(["a.example"]),
    "take_wishes": lambda store: store.take_wishes(1, 5),
    "read_drains": lambda store: store.read_drains(),
    "write_drain": lambda store: store.write_drain("a", "alice", 600),
    "read_roster": lambda store: store.read_roster(POOL),
    "record": lambda store: store.record([FleetEvent(Kind.HEALTH, "up")]),
    "read_events": lambda store: store.read_events(1),
    "follow_events": lambda store: store.follow_events("", 1),
}
WATCHES: dict[str, Callable[[RedisStore], StoreWatch]] = {
    "watch_changes": lambda store: store.watch_changes([POOL]),
    "watch_suspects": lambda store: store.watch_suspects([POOL]),
    "watch_slots": lambda store: store.watch_slots([POOL]),
}
#: A request that meets a store out of reach waits no longer than this, even on a busy machine. What is asked for is
#: tens of milliseconds; what must not be is redis-py's own patience, which is without end for an answer.
SOON = 30.0


Answer = TypeVar("Answer")


def eventually_answers(ask: Callable[[], Answer]) -> Answer:
    """The answer of a store that is about to be within reach, or that a busy machine keeps from answering in time."""

    def answers() -> tuple[Answer] | None:
        try:
            return (ask(),)
        except StoreUnavailable:
            return None

    return eventually(answers, "the store answers")[0]


def is_unavailable(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except StoreUnavailable:
        return True
    return False


def gives_up_soon(trip: Callable[[RedisStore], object], store: RedisStore) -> None:
    began = time.monotonic()
    with pytest.raises(StoreUnavailable) as told:
        trip(store)
    assert time.monotonic() - began < SOON
    assert str(told.value)


@pytest.fixture
def store_at() -> Iterator[Callable[[int], RedisStore]]:
    """Stores at a port of this machine, with the patience they have in service."""
    clients = []

    def at(port: int) -> RedisStore:
        client = connect(f"redis://127.0.0.1:{port}/0")
        clients.append(client)
        return RedisStore(client, "test")

    yield at
    for client in clients:
        client.close()


@pytest.fixture
def black_hole() -> Iterator[int]:
    """The port of a server that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


class Server(Process):
    """A Valkey of the test's own, to be stopped and started."""

    def __init__(self, port: int) -> None:
        try:
            binary = find_binary()
        except NoServer:
            require(False, "Valkey or Redis")
            raise
        self.port = port
        super().__init__([str(binary), "--port", str(port), "--bind", "127.0.0.1", "--save", ""])
        eventually(lambda: listens(port), f"Valkey listens on {port}: {self.output}")


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(free_port())
    yield server
    server.kill()


class TestOutOfReach:
    @pytest.mark.parametrize("trip", [*TRIPS, *WATCHES])
    def test_a_store_with_nobody_listening_is_unavailable(
        self, trip: str, store_at: Callable[[int], RedisStore]
    ) -> None:
        gives_up_soon((TRIPS | WATCHES)[trip], store_at(free_port()))

    @pytest.mark.parametrize("trip", TRIPS)
    def test_a_store_that_never_answers_is_unavailable(
        self, trip: str, store_at: Callable[[int], RedisStore], black_hole: int
    ) -> None:
        gives_up_soon(TRIPS[trip], store_at(black_hole))

    def test_a_store_with_no_socket_to_connect_to_is_unavailable(self, tmp_path: Path) -> None:
        with connect(f"unix://{tmp_path}/none.sock") as client:
            gives_up_soon(TRIPS["take_tickets"], RedisStore(client, "test"))

    def test_a_store_whose_answer_is_no_redis_is_unavailable(self, store_at: Callable[[int], RedisStore]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:

            def answer() -> None:
                peer, _ = listener.accept()
                with peer:
                    peer.recv(1024)
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            answering = threads.submit(answer)
            gives_up_soon(TRIPS["take_tickets"], store_at(listener.getsockname()[1]))
            answering.result()

    @pytest.mark.parametrize("trip", TRIPS)
    def test_a_store_that_never_answers_is_asked_once(self, trip: str, store_at: Callable[[int], RedisStore]) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
            gives_up_soon(TRIPS[trip], store_at(listener.getsockname()[1]))
            listener.setblocking(False)
            listener.accept()[0].close()
            with pytest.raises(BlockingIOError):
                listener.accept()


REFUSALS = [
    "READONLY You can't write against a read only replica.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "NOREPLICAS Not enough good replicas to write.",
    "MISCONF Valkey is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "NOPERM User lb has no permissions to run the 'evalsha' command",
    "LOADING Valkey is loading the dataset in memory",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "CLUSTERDOWN Hash slot not served",
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "BUSY Valkey is busy running a script.",
    "TRYAGAIN Multiple keys request during rehashing of slot",
]


class TestRefusal:
    @pytest.mark.parametrize("trip", ["prove", "take_tickets", "read_events"])
    @pytest.mark.parametrize("answer", REFUSALS, ids=lambda answer: answer.partition(" ")[0])
    def test_a_store_that_refuses_is_unavailable_and_the_code_is_told(
        self, answer: str, trip: str, store_at: Callable[[int], RedisStore]
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:

            def refuse() -> None:
                peer, _ = listener.accept()
                with peer:
                    while peer.recv(1 << 16):
                        peer.sendall(f"-{answer}\r\n".encode())

            refusing = threads.submit(refuse)
            store = store_at(listener.getsockname()[1])
            with pytest.raises(StoreUnavailable, match=answer.partition(" ")[0]):
                TRIPS[trip](store)
            store.close()
            refusing.result(PATIENCE)


class TestFrozen:
    def test_a_frozen_store_is_unavailable_and_a_thawed_one_answers_what_it_is_asked(self, server: Server) -> None:
        with connect(f"redis://127.0.0.1:{server.port}/0") as client:
            store = RedisStore(client, "test")
            first = eventually_answers(lambda: store.take_tickets(POOL, 1))
            server.signal(signal.SIGSTOP)
            for name, trip in TRIPS.items():
                if name not in ("hold_lease", "write_active"):
                    gives_up_soon(trip, store)
            server.signal(signal.SIGCONT)
            # The frozen server may still carry out what it was sent; its late answers must reach nobody.
            snapshot = eventually_answers(lambda: store.read_snapshot(POOL, NOTHING_KNOWN))
            assert snapshot == NOTHING_KNOWN
            taken = [eventually_answers(lambda: store.take_tickets(POOL, 1)) for _ in range(5)]
            assert taken == sorted({*taken})
            assert taken[0] > first

    def test_a_store_that_comes_back_is_used_again_by_the_same_clients(self, server: Server) -> None:
        with connect(f"redis://127.0.0.1:{server.port}/0") as client:
            store = RedisStore(client, "test")
            eventually_answers(lambda: store.take_tickets(POOL, 1))
            watch = eventually_answers(lambda: store.watch_changes([POOL]))
            server.kill()
            with pytest.raises(StoreUnavailable):
                store.take_tickets(POOL, 1)
            eventually(lambda: is_unavailable(lambda: watch.wait(0.1)), "the watch notices")
            watch.close()
            again = Server(server.port)
            try:
                # Its scripts went with the old server.
                lease = eventually_answers(lambda: store.hold_lease(POOL, "a", 600))
                assert lease is not None
                assert eventually_answers(
                    lambda: store.write_active(POOL, HealthWrite(lease.epoch, {"a": UP}, interval=1, announce=True))
                )
                assert eventually_answers(lambda: store.read_snapshot(POOL, NOTHING_KNOWN)).active == {"a": UP}
            finally:
                again.kill()


class TestClosing:
    def test_a_closed_store_ends_the_wait_of_its_watches(self, redis_url: str) -> None:
        client = connect(redis_url, PATIENCE)
        store = RedisStore(client, "test")
        watch = store.watch_changes([POOL])
        begun = threading.Event()
        ended: list[BaseException | None] = []

        def wait() -> None:
            try:
                for _ in range(3):
                    begun.set()
                    watch.wait(30)
                ended.append(None)
            except BaseException as error:
                ended.append(error)
            finally:
                watch.close()

        thread = threading.Thread(target=wait)
        thread.start()
        begun.wait(PATIENCE)
        store.close()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert ended == [None] or isinstance(ended[0], StoreUnavailable)
        client.close()


class TestRecords:
    @given(
        st.builds(
            ActiveHealth,
            health=st.sampled_from(Health),
            streak=st.integers(0, 10**6),
            reason=st.text().map(printable),
            since=st.integers(0, 2**41).map(lambda ms: round(ms / 1000, 3)),
        )
    )
    def test_what_was_written_down_is_read_again(self, state: ActiveHealth) -> None:
        assert records.parse_active(records.dump_active(state)) == state
        assert records.parse_active(records.dump_active(state).encode()) == state

    @pytest.mark.parametrize(
        "record",
        [
            "",
            "up",
            b"\xff\xfe",
            "null",
            "[]",
            "{}",
            '{"health":"up"}',
            '{"health":"sideways","streak":0,"reason":"","since":0}',
            '{"health":"up","streak":"many","reason":"","since":0}',
            '{"health":"up","streak":null,"reason":"","since":0}',
            '{"health":"up","streak":1e999,"reason":"","since":0}',
            '{"health":["up"],"streak":0,"reason":"","since":0}',
            '{"health":"up","streak":0,"reason":"","since":"yesterday"}',
            "[" * 100_000,
        ],
    )
    def test_a_record_that_cannot_be_read_says_nothing_of_the_backend(self, record: str | bytes) -> None:
        assert records.parse_active(record) is None

    @given(st.one_of(st.binary(), st.text()))
    def test_whatever_a_record_holds_reading_it_is_no_error(self, record: str | bytes) -> None:
        records.parse_active(record)
        records.parse_override(record, "a")
        records.parse_backends(record)
        records.parse_ejection(record)
        records.parse_loads(record)

    def test_a_record_of_a_later_version_of_us_is_read_as_far_as_it_is_known(self) -> None:
        record = '{"health":"down","streak":2,"reason":"refused","since":5.5,"weather":"fine"}'
        assert records.parse_active(record) == ActiveHealth(Health.DOWN, 2, "refused", 5.5)

    def test_one_unreadable_record_does_not_hide_the_others(self, redis_url: str) -> None:
        with real_redis(redis_url) as rig:
            lease = rig.store.hold_lease(POOL, "a", 600)
            assert lease is not None
            assert rig.client is not None
            rig.client.hset(PoolKeys("test", POOL).active, mapping={"broken": "{", b"\xff": "{"})
            rig.store.write_active(POOL, HealthWrite(lease.epoch, {"whole": UP}, interval=1, announce=True))
            active = rig.store.read_snapshot(POOL, NOTHING_KNOWN).active
        assert active["whole"] == UP
        assert active["broken"].health is Health.UNKNOWN
        assert len(active) == 3


#: Whole milliseconds that are a little less than whole once they are multiplied in binary.
TRUNCATED = [ms for ms in range(1, 5000) if int(ms / 1000 * 1000) != ms]


def test_times_keep_their_milliseconds(redis_url: str) -> None:
    with real_redis(redis_url) as rig:
        lease = rig.store.hold_lease(POOL, "a", 600)
        assert lease is not None
        for ms in TRUNCATED[:20]:
            rig.store.write_active(POOL, HealthWrite(lease.epoch, {}, interval=ms / 1000))
            assert rig.store.read_snapshot(POOL, NOTHING_KNOWN).interval == ms / 1000


LUA = sorted((file for file in resources.files("lbflask.store").joinpath("lua").iterdir()), key=lambda file: file.name)


class TestScripts:
    def test_there_are_scripts(self) -> None:
        assert all(file.name.endswith(".lua") for file in LUA)
        assert len(LUA) >= 4

    def test_records_are_sent_only_to_those_who_do_not_know_them(self, redis_url: str) -> None:
        keys = PoolKeys("test", POOL)
        with real_redis(redis_url) as rig:
            lease = rig.store.hold_lease(POOL, "a", 600)
            assert lease is not None
            assert rig.client is not None
            rig.store.write_active(POOL, HealthWrite(lease.epoch, {"a": UP, "b": UP}, interval=1, announce=True))
            read = rig.client.register_script(TEXTS["read_snapshot"])
            of = [keys.version, keys.heartbeat, keys.active, keys.ejected]
            of += [keys.overrides, keys.discovered, keys.secret]
            assert list(map(len, read(keys=of, args=[0])[0][5:])) == [2 * 2, 0, 0, 0, 0]
            assert read(keys=of, args=[rig.client.get(keys.version)])[0][5:] == []

    @pytest.mark.parametrize("file", LUA, ids=lambda file: file.name)
    def test_a_script_is_short(self, file: Path) -> None:
        assert len(file.read_text("utf-8").splitlines()) <= 48

    @pytest.mark.parametrize("file", LUA, ids=lambda file: file.name)
    def test_the_head_of_a_script_says_what_it_takes_gives_and_costs(self, file: Path) -> None:
        head, code = head_and_code(file)
        for word in ("KEYS:", "ARGV:", "Returns", "Cost:"):
            assert len(re.findall(rf"(?:^-- |\. ){word}", head, re.MULTILINE)) == 1, word
        assert code

    @pytest.mark.parametrize("file", LUA, ids=lambda file: file.name)
    def test_a_script_touches_the_keys_and_takes_the_arguments_that_it_declares(self, file: Path) -> None:
        head, code = head_and_code(file)
        for name in ("KEYS", "ARGV"):
            declared = re.findall(r"(?<!\S)(\d+)(?=[… ])", re.search(rf"-- {name}:(.*(?:\n--  .*)*)", head)[1])  # type: ignore[index]
            used = set(re.findall(rf"{name}\[(\d+)\]", code))
            if name == "ARGV" and f"#{name}" in code:  # as many as there are, from the last that is declared
                used.add(re.search(rf"= (\d+), #{name}", code)[1])  # type: ignore[index]
            assert used == set(declared)


def head_and_code(file: Path) -> tuple[str, str]:
    lines = file.read_text("utf-8").splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("--"))
    return "\n".join(lines[:end]), "\n".join(lines[end:])
