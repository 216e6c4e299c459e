"""The store in every shape that a URL can name, over real servers."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devtools.certificates import Authority
from devtools.servers import free_port, runtime_directory, start_valkey
from devtools.topologies import sentinel_store, store_cluster, tls_server
from devtools.wait import eventually
from lbflask.core.ejection import EjectionPolicy, FailureReport
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Health
from lbflask.core.rate_limit import RateLimit
from lbflask.core.slots import BackendSlots, SlotDemand
from lbflask.fleet.fleet import Fleet
from lbflask.store.keys import PoolKeys
from lbflask.store.ports import Beat, HealthWrite, StoreUnavailable
from lbflask.store.redis import RedisStore
from lbflask.store.redis_client import _addresses, connect
from tests.store.stores import PATIENCE
from tests.store.test_redis import SOON, TRIPS, eventually_answers
from tests.support.changes import property_test

UP = ActiveHealth(Health.UP)
RULE = EjectionPolicy(("a", "b"), failures=2)


@pytest.fixture
def opened() -> Iterator[Callable[..., RedisStore]]:
    """Stores that are closed after the test."""
    stores: list[RedisStore] = []

    def at(url: str, patience: float = PATIENCE) -> RedisStore:
        stores.append(RedisStore(connect(url, patience), "test"))
        return stores[-1]

    yield at
    for store in stores:
        store.close()


@pytest.fixture(scope="module")
def tls_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    authority = Authority(tmp_path_factory.mktemp("tls"))
    with tls_server(authority, authority.pair("client")) as url:
        yield url


@pytest.fixture(scope="module")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with store_cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes.url


def keeps_every_promise(store: RedisStore, other: RedisStore, pool: str) -> None:
    """One of each operation, some of them seen by another client."""
    first = store.take_tickets(pool, 3)
    assert other.take_tickets(pool, 1) == first + 3
    watch, suspects = other.watch_changes([pool]), other.watch_suspects([pool])
    lease = store.hold_lease(pool, "checker", 600)
    assert lease is not None

    def change_is_heard() -> bool:
        assert store.write_active(pool, HealthWrite(lease.epoch, {"a": UP}, interval=1, announce=True))
        return pool in watch.wait(0.1)

    def suspect_is_heard() -> bool:
        store.report_suspect(pool, "a")
        return f"{pool}/a" in suspects.wait(0.1)

    eventually(change_is_heard, "the change is heard")
    eventually(suspect_is_heard, "the suspect is heard")
    watch.wait(0)
    assert store.count_failures(pool, "a", FailureReport(2, 2, 2), RULE)
    eventually(lambda: pool in watch.wait(0.1), "the ejection is heard")
    watch.close()
    suspects.close()
    snapshot = other.read_snapshot(pool, NOTHING_KNOWN)
    assert snapshot.active == {"a": UP}
    assert snapshot.ejected["a"].out
    assert other.hold_probe(pool, "worker", 600)
    assert other.settle_ejection(pool, "a", snapshot.ejected["a"].since, back=True, rule=RULE)
    store.beat(pool, "one", Beat({"a": 2}, {"a": 2}), read=False)
    assert other.beat(pool, "two", Beat(), read=True).loads == {"a": 2}
    store.leave(pool, "one")
    assert store.hold_slots(pool, "one", SlotDemand([BackendSlots("a", 0, 3)], extra=2)).held == [2]
    assert other.hold_slots(pool, "two", SlotDemand([BackendSlots("a", 0, 3)], extra=2)).held == [1]
    assert [each.take_token(RateLimit(pool, 1, 3600, 1), "a").passed for each in (store, other)] == [True, False]
    assert other.beat(pool, "two", Beat(), read=True).loads == {}
    store.drop_lease(pool, "checker")


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ("a", [("a", 7)]),
        ("a:1,b", [("a", 1), ("b", 7)]),
        ("[::1]:1,[::2]", [("::1", 1), ("::2", 7)]),
    ],
)
def test_hosts_are_read_with_and_without_ports(hosts: str, expected: list[tuple[str, int]]) -> None:
    assert _addresses(hosts, 7) == expected


def test_a_unix_socket(opened: Callable[..., RedisStore]) -> None:
    with runtime_directory() as directory:
        path = directory / "valkey.sock"
        with start_valkey("--unixsocket", str(path), port=free_port()):
            keeps_every_promise(opened(f"unix://{path}"), opened(f"unix://{path}?db=0"), "web")


class TestTLS:
    def test_with_a_certificate_of_ours_and_a_user_of_an_acl(
        self, tls_url: str, opened: Callable[..., RedisStore]
    ) -> None:
        keeps_every_promise(opened(tls_url), opened(tls_url), "web")

    def test_a_server_that_nobody_vouches_for_is_unavailable(
        self, tls_url: str, opened: Callable[..., RedisStore], tmp_path: Path
    ) -> None:
        strangers = Authority(tmp_path, "strangers")
        place, _, query = tls_url.partition("?")
        wrong = "&".join([f"ssl_ca_certs={strangers.ca_file}", *query.split("&")[1:]])
        with pytest.raises(StoreUnavailable, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
            opened(f"{place}?{wrong}").take_tickets("web", 1)

    def test_a_server_by_another_name_is_unavailable(self, tls_url: str, opened: Callable[..., RedisStore]) -> None:
        with pytest.raises(StoreUnavailable, match="localhost"):
            opened(tls_url.replace("127.0.0.1", "localhost")).take_tickets("web", 1)

    def test_without_a_certificate_or_with_a_wrong_password_it_is_unavailable(
        self, tls_url: str, opened: Callable[..., RedisStore]
    ) -> None:
        for wrong in (tls_url.partition("&ssl_certfile")[0], tls_url.replace("secret", "guess")):
            with pytest.raises(StoreUnavailable):
                opened(wrong).take_tickets("web", 1)


class TestSentinel:
    @pytest.mark.thorough
    def test_a_fail_over_costs_no_request_and_the_fleet_goes_on_with_the_new_primary(
        self, tmp_path: Path, opened: Callable[..., RedisStore]
    ) -> None:
        with sentinel_store(tmp_path) as servers:
            keeps_every_promise(opened(servers.url), opened(servers.url), "api")
            fleet = Fleet(opened(servers.url, 0.05), ["web"], policies={"web": RULE})
            fleet.start()
            try:
                eventually(lambda: not fleet.degraded, "the fleet is joined")
                fleet.pools["web"].tickets.next()
                servers.primary.signal(signal.SIGSTOP)
                slowest, tickets = 0.0, 0

                def recovered() -> bool:
                    nonlocal slowest, tickets
                    began = time.monotonic()
                    tickets += isinstance(fleet.pools["web"].tickets.next(), int)
                    slowest = max(slowest, time.monotonic() - began)
                    return not fleet.degraded and tickets > 20

                eventually(
                    lambda: fleet.pools["web"].tickets.next() >= 0 and fleet.degraded, "the fail-over is noticed"
                )
                eventually(recovered, "the new primary is found")
                assert slowest < SOON
                new = opened(f"redis://127.0.0.1:{servers.replica_port}/0")
                before = new.take_tickets("web", 1)
                eventually(lambda: fleet.pools["web"].tickets.next() > before, "tickets are the new primary's")
                servers.primary.signal(signal.SIGCONT)
            finally:
                fleet.stop()

    def test_without_a_sentinel_the_store_is_unavailable_soon(self, opened: Callable[..., RedisStore]) -> None:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="truth"):
            opened(f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{free_port()}/truth", 0.05).take_tickets("w", 1)
        assert time.monotonic() - began < SOON

    def test_passwords_are_for_whom_they_are_meant(self) -> None:
        client = connect("redis+sentinel://lb:p%40@a:1,b/truth/3?sentinel_username=s&sentinel_password=q")
        kwargs = client.connection_pool.connection_kwargs
        assert (kwargs["username"], kwargs["password"], kwargs["db"]) == ("lb", "p@", 3)
        asked = [
            sentinel.connection_pool.connection_kwargs for sentinel in client.connection_pool.sentinel_manager.sentinels
        ]
        assert [(of["host"], of["port"], of["username"], of["password"], of["db"]) for of in asked] == [
            ("a", 1, "s", "q", 0),
            ("b", 26379, "s", "q", 0),
        ]
        client.close()


class TestCluster:
    @pytest.mark.parametrize("pool", ["web", "api", "shop", "default"])
    def test_every_pool_is_in_one_slot(self, cluster_url: str, opened: Callable[..., RedisStore], pool: str) -> None:
        keeps_every_promise(opened(cluster_url), opened(cluster_url), pool)

    def test_a_fleet_lives_on_it(self, cluster_url: str, opened: Callable[..., RedisStore]) -> None:
        fleet = Fleet(opened(cluster_url), ["web", "api"], policies={"web": RULE})
        fleet.start()
        try:
            assert fleet.pools["web"].tickets.next() + 1 == fleet.pools["web"].tickets.next()
            for _ in range(3):
                fleet.traffic("web").began("b")
                fleet.traffic("web").answered("b", 500)
                fleet.traffic("web").ended("b")
            eventually(lambda: "b" in fleet.snapshot("web").ejected, "it is out")
            assert not fleet.degraded
        finally:
            fleet.stop()

    @pytest.mark.parametrize("trip", TRIPS)
    def test_without_a_node_the_store_is_unavailable_soon_and_found_when_it_is_there(
        self, trip: str, opened: Callable[..., RedisStore]
    ) -> None:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            TRIPS[trip](opened(f"redis+cluster://127.0.0.1:{free_port()}", 0.05))
        assert time.monotonic() - began < SOON

    def test_a_cluster_that_starts_later_is_found_by_the_same_client(
        self, cluster_url: str, opened: Callable[..., RedisStore]
    ) -> None:
        store = opened(f"redis+cluster://127.0.0.1:{free_port()}")
        with pytest.raises(StoreUnavailable):
            store.take_tickets("web", 1)
        store._client._nodes = _addresses(cluster_url.partition("://")[2], 0)  # type: ignore[union-attr]
        assert eventually_answers(lambda: store.take_tickets("web", 1)) >= 0

    def test_a_node_that_dies_costs_no_request_and_is_joined_when_it_is_back(
        self, tmp_path: Path, opened: Callable[..., RedisStore]
    ) -> None:
        with store_cluster(tmp_path) as nodes:
            fleet = Fleet(opened(nodes.url, 0.05), ["web"], policies={"web": RULE})
            fleet.start()
            try:
                eventually(lambda: not fleet.degraded, "the fleet is joined")
                node = nodes.node_of(PoolKeys("test", "web").ticket)
                nodes.kill(node)
                slowest = 0.0

                def ticket() -> int:
                    nonlocal slowest
                    began = time.monotonic()
                    given = fleet.pools["web"].tickets.next()
                    slowest = max(slowest, time.monotonic() - began)
                    return given

                eventually(lambda: ticket() >= 0 and fleet.degraded, "the death is noticed")
                assert [ticket() + 1 == ticket() for _ in range(20)] == [True] * 20
                nodes.restart(node)
                eventually(lambda: ticket() >= 0 and not fleet.degraded, "the node is joined again")
                assert slowest < SOON
            finally:
                fleet.stop()


test_any_value_is_accepted_twice_or_rejected = property_test("setting")
