"""A real server refuses in each of its ways; the error carries the cause."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from devtools.ports import free_port
from devtools.servers import start_valkey
from devtools.wait import eventually
from lbflask.core.failure_causes import FailureCause
from lbflask.store.ports import StoreUnavailable
from lbflask.store.redis import RedisStore, connect

POOL = "web"
ADMIN = "admin"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    server = start_valkey("--dir", str(tmp_path), "--enable-protected-configs", "yes", port=port)
    yield port
    server.kill()


def cause(url: str) -> FailureCause:
    with closing(connect(url, timeout=1.0)) as client, pytest.raises(StoreUnavailable) as caught:
        RedisStore(client, "test").prove(POOL)
    return caught.value.cause


def _without_disk(administer: redis.Redis) -> None:
    directory = Path(str(administer.config_get("dir")["dir"]))
    (directory / "taken" / "by-another").mkdir(parents=True)
    administer.config_set("dbfilename", "taken")
    administer.config_set("save", "3600 1")
    administer.bgsave()
    eventually(lambda: administer.info("persistence")["rdb_last_bgsave_status"] == "err", "it has failed")


REFUSALS: dict[FailureCause, Callable[[redis.Redis], object]] = {
    FailureCause.READ_ONLY: lambda server: server.execute_command("REPLICAOF", "127.0.0.1", free_port()),
    FailureCause.FULL: lambda server: server.config_set("maxmemory", 1),
    FailureCause.DISK: _without_disk,
    FailureCause.LOGIN: lambda server: server.execute_command("ACL", "SETUSER", "default", "resetpass", ">another"),
    FailureCause.PERMISSION: lambda server: server.execute_command("ACL", "SETUSER", "default", "-@write"),
    FailureCause.REPLICAS: lambda server: server.config_set("min-replicas-to-write", 1),
    FailureCause.CLIENTS: lambda server: server.config_set("maxclients", 1),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_has_its_cause(refusal: FailureCause, port: int) -> None:
    with redis.Redis(port=port) as first:
        first.execute_command("ACL", "SETUSER", ADMIN, "on", ">secret", "+@all", "allkeys", "allchannels")
    with redis.Redis(port=port, username=ADMIN, password="secret", decode_responses=True) as administer:
        REFUSALS[refusal](administer)
        found = cause(f"redis://127.0.0.1:{port}/0")
        # A server with too many clients closes: its words may be lost with the connection.
        assert found is refusal or (refusal is FailureCause.CLIENTS and found is FailureCause.CLOSED)


def test_the_memory_of_a_server_is_read_with_its_policy_unless_that_is_forbidden(port: int) -> None:
    with redis.Redis(port=port) as first:
        first.config_set("maxmemory", 100 * 2**20)
        first.config_set("maxmemory-policy", "allkeys-lru")
        with closing(connect(f"redis://127.0.0.1:{port}/0", timeout=1.0)) as client:
            memory = RedisStore(client, "test").read_memory()
            assert memory is not None
            assert (memory.limit, memory.policy) == (100 * 2**20, "allkeys-lru")
            assert 0 < memory.used < memory.limit
            first.execute_command("ACL", "SETUSER", "default", "-info")
            assert RedisStore(client, "test").read_memory() is None


def test_a_cluster_without_slots_is_down(tmp_path: Path) -> None:
    port = free_port()
    server = start_valkey("--dir", str(tmp_path), "--cluster-enabled", "yes", port=port)
    try:
        assert cause(f"redis://127.0.0.1:{port}/0") is FailureCause.CLUSTER
    finally:
        server.kill()


def test_a_server_that_is_not_there() -> None:
    assert cause(f"redis://127.0.0.1:{free_port()}/0") is FailureCause.REFUSED
    assert cause("redis://nowhere.invalid:6379/0") in (FailureCause.NAME, FailureCause.NAME_SERVER)
    assert cause("unix:///nowhere/redis.sock") is FailureCause.NO_SOCKET


def test_a_server_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        assert cause(f"redis://127.0.0.1:{deaf.getsockname()[1]}/0") is FailureCause.NO_ANSWER
