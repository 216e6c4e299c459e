"""What the commands of the fleet cost a store, in seconds of its one thread: measured here, or given.

Measured is the CPU time that a Valkey says it has used while commands reach it over TCP one by one, which is the most
that they cost: a busy store finds several at once, and saves a third. What is sent is what `RedisStore` sends: its
commands are noted as it speaks, and sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import redis

from benchmarks.rig import HOST, free_ports, running
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Health
from lbflask.state.embedded import find_binary
from lbflask.state.redis import RedisStore

POOL = "bench"
#: Commands in a measurement; and rounds of all measurements, of which the median is taken: what disturbs one, in such a
#: short time, disturbs all of its commands.
COMMANDS = 4_000
ROUNDS = 5
SUBSCRIBERS = 200
BACKENDS = 100
WORKERS = 1_000


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of the store's thread."""

    take: float  #: tickets, by INCRBY
    read: float  #: a snapshot that has not changed
    record: float  #: one backend more in a snapshot that has
    word: float  #: the checker's word, one backend's record
    told: float  #: one subscriber of a message
    beat: float  #: a worker's beat
    other: float  #: one other worker in the reply to a beat that reads them
    join: float  #: a new connection

    @property
    def ratios(self) -> dict[str, float]:
        """Each as so many times INCRBY."""
        return {name: getattr(self, name) / self.take for name in self.__slots__}


#: As measured once on a core of a small virtual machine, with Valkey 9 (docs/scaling.md).
RATIOS = {
    "take": 1.0, "read": 2.0, "record": 0.09, "word": 2.2, "told": 0.33, "beat": 2.2, "other": 0.14, "join": 5.0,
}  # fmt: skip


def given(take: float) -> Costs:
    """From the seconds of an INCRBY, and the ratios of another measurement."""
    return Costs(**{name: take * ratio for name, ratio in RATIOS.items()})


class _Notes(redis.Redis):
    """A client that remembers the last command it was asked for."""

    last: tuple[Any, ...] = ()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self.last = args
        return super().execute_command(*args, **options)


class _Bench:
    """A Valkey, and connections to it."""

    def __init__(self, port: int, commands: int) -> None:
        self._port = port
        self._commands = commands
        self._client = _Notes(host=HOST, port=port, protocol=2)
        self._store = RedisStore(self._client, "bench")

    def _connection(self) -> redis.Connection:
        connection = redis.Connection(host=HOST, port=self._port, protocol=2, driver_info=None)
        connection.connect()
        return connection

    def _cpu(self) -> float:
        """Seconds that the store's process has used."""
        told = self._client.info("cpu")
        return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])

    def _of(self, act: Callable[[], object], share: float = 1.0) -> float:
        """Seconds of the store for acting once, of so large a share of all commands."""
        turns = max(1, int(self._commands * share))
        before = self._cpu()
        for _ in range(turns):
            act()
        return (self._cpu() - before) / turns

    def _sent(self, speak: Callable[[], object], share: float = 1.0) -> float:
        """Seconds of the store for the command that is sent when this is spoken."""
        speak()  # loads the script, if it is one
        speak()
        connection = self._connection()
        packed = connection.pack_command(*self._client.last)

        def ask() -> None:
            connection.send_packed_command(packed, check_health=False)
            connection.read_response()

        spent = self._of(ask, share)
        connection.disconnect()
        return spent

    def _join(self) -> None:
        connection = self._connection()
        connection.send_command("PING")
        connection.read_response()
        connection.disconnect()

    def _told(self) -> float:
        """Seconds for each subscriber of a message."""
        alone = self._sent(lambda: self._client.publish("changes", "1"))
        subscribers = [self._connection() for _ in range(SUBSCRIBERS)]
        for connection in subscribers:
            connection.send_command("SUBSCRIBE", "changes")
            connection.read_response()

        def tell() -> None:
            self._client.publish("changes", "1")
            for connection in subscribers:
                connection.read_response()

        spent = self._of(tell, 0.01)
        for connection in subscribers:
            connection.disconnect()
        return max(0.0, spent - alone) / SUBSCRIBERS

    def all(self) -> Costs:
        """Each command once."""
        store = self._store
        lease = store.hold_lease(POOL, "bench", 3600)
        assert lease is not None
        states = {f"10.0.0.{number}:8080": ActiveHealth(Health.UP, since=1.0) for number in range(BACKENDS)}
        store.write_active(POOL, lease.epoch, states, interval=10, announce=True)
        known = store.read_snapshot(POOL, NOTHING_KNOWN)
        one = dict([states.popitem()])
        read = self._sent(lambda: store.read_snapshot(POOL, known))
        whole = self._sent(lambda: store.read_snapshot(POOL, NOTHING_KNOWN), 0.1)
        return Costs(
            take=self._sent(lambda: store.take_tickets(POOL, 1)),
            read=read,
            record=max(0.0, whole - read) / BACKENDS,
            word=self._sent(lambda: store.write_active(POOL, lease.epoch, one, interval=10)),
            told=self._told(),
            join=self._of(self._join, 0.05),
            **self._beats(read),
        )

    def _beats(self, read: float) -> dict[str, float]:
        """What workers say of themselves; as much as a poll, where they do not."""
        store: Any = self._store
        if not hasattr(store, "beat"):
            return {"beat": read, "other": 0.0}
        loads, attempts = {"10.0.0.1:8080": 3, "10.0.0.2:8080": 2}, {"10.0.0.1:8080": 70, "10.0.0.2:8080": 71}
        beat = self._sent(lambda: store.beat(POOL, "worker:0", loads, attempts, read=False))
        for number in range(WORKERS):
            store.beat(POOL, f"worker:{number}", loads, {}, read=False)
        reads = self._sent(lambda: store.beat(POOL, "worker:0", loads, attempts, read=True), 0.02)
        return {"beat": beat, "other": max(0.0, reads - beat) / WORKERS}


def measured(*, quick: bool = False) -> Costs:
    """On this machine, in some seconds. Ends with a message where no Valkey is."""
    port = free_ports(1)[0]
    command = [str(find_binary()), "--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no"]
    with running([command], port):
        bench = _Bench(port, COMMANDS // 4 if quick else COMMANDS)
        return median_of([bench.all() for _ in range(ROUNDS)])


def median_of(rounds: Sequence[Costs]) -> Costs:
    """Each cost by itself."""
    return Costs(**{name: median(getattr(costs, name) for costs in rounds) for name in Costs.__slots__})
