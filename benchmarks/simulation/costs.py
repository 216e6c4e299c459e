"""What the commands of the fleet cost a store, in seconds of its one thread: measured here, or given.

Measured is the CPU time that a Valkey says it has used for commands that it found waiting on many connections, as a
busy store does: one that is idle pays more for each, since it sleeps in between, but has the time. What is sent is what
`RedisStore` sends: its commands are noted as it speaks, and sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import redis

from benchmarks.harness import free_ports, running
from devtools.environment import HOST
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Health
from lbflask.store.embedded import find_binary
from lbflask.store.ports import Beat, HealthWrite
from lbflask.store.redis import RedisStore

POOL = "bench"
#: Commands in a measurement; and rounds of all measurements, of which the median is taken: what disturbs one, in such a
#: short time, disturbs all of its commands.
COMMANDS = 4_000
ROUNDS = 5
#: Connections that each have one command waiting, and seconds in which the store does not look, so that they wait.
CONNECTIONS = 50
LOOK_AWAY = "0.003"
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
    "take": 1.0, "read": 2.1, "record": 0.06, "word": 2.3, "told": 0.5, "beat": 2.3, "other": 0.14, "join": 3.6,
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


def _await(connection: redis.Connection) -> None:
    """Read a reply without ever sleeping: to wake a sleeper is work for who sends, and in a fleet the network's."""
    while not connection.can_read(0):
        pass
    connection.read_response()


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

    def _spent(self, act: Callable[[list[redis.Connection]], None], share: float = 1.0) -> float:
        """Seconds of the store for each connection on which is acted while the store does not look."""
        turns = max(1, int(self._commands * share) // CONNECTIONS)
        teller = self._connection()
        connections = [self._connection() for _ in range(CONNECTIONS)]
        before = self._cpu()
        for _ in range(turns):
            teller.send_command("DEBUG", "SLEEP", LOOK_AWAY)
            act(connections)
            _await(teller)
        spent = self._cpu() - before
        for connection in (teller, *connections):
            connection.disconnect()
        return spent / (turns * CONNECTIONS)

    def _sent(self, speak: Callable[[], object], share: float = 1.0) -> float:
        """Seconds of the store for the command that is sent when this is spoken."""
        speak()  # loads the script, if it is one
        speak()
        sent = self._client.last

        def ask(connections: list[redis.Connection]) -> None:
            packed = connections[0].pack_command(*sent)
            for connection in connections:
                connection.send_packed_command(packed, check_health=False)
            for connection in connections:
                _await(connection)

        return self._spent(ask, share)

    def _joined(self) -> float:
        """Seconds for a connection that comes, asks for a little, and goes."""

        def join(connections: list[redis.Connection]) -> None:
            for connection in connections:
                connection.disconnect()
                connection.connect()
                connection.send_command("PING")
            for connection in connections:
                _await(connection)

        return self._spent(join)

    def _told(self) -> float:
        """Seconds for each subscriber of a message."""
        teller, subscribers = self._connection(), [self._connection() for _ in range(SUBSCRIBERS)]
        for connection in subscribers:
            connection.send_command("SUBSCRIBE", "changes")
            connection.read_response()
        turns = max(1, self._commands // SUBSCRIBERS)
        before = self._cpu()
        for _ in range(turns):
            teller.send_command("PUBLISH", "changes", "1")
            for connection in (teller, *subscribers):
                _await(connection)
        spent = self._cpu() - before
        for connection in (teller, *subscribers):
            connection.disconnect()
        return spent / (turns * SUBSCRIBERS)

    def all(self) -> Costs:
        """Each command once."""
        store = self._store
        lease = store.hold_lease(POOL, "bench", 3600)
        assert lease is not None
        states = {f"10.0.0.{number}:8080": ActiveHealth(Health.UP, since=1.0) for number in range(BACKENDS)}
        store.write_active(POOL, HealthWrite(lease.epoch, states, interval=10, announce=True))
        known = store.read_snapshot(POOL, NOTHING_KNOWN)
        one = dict([states.popitem()])
        read = self._sent(lambda: store.read_snapshot(POOL, known))
        whole = self._sent(lambda: store.read_snapshot(POOL, NOTHING_KNOWN), 0.1)
        return Costs(
            take=self._sent(lambda: store.take_tickets(POOL, 1)),
            read=read,
            record=max(0.0, whole - read) / BACKENDS,
            word=self._sent(lambda: store.write_active(POOL, HealthWrite(lease.epoch, one, interval=10))),
            told=self._told(),
            join=self._joined(),
            **self._beats(),
        )

    def _beats(self) -> dict[str, float]:
        """What workers say of themselves, and what it adds that they read the words of others."""
        loads, attempts = {"10.0.0.1:8080": 3, "10.0.0.2:8080": 2}, {"10.0.0.1:8080": 70, "10.0.0.2:8080": 71}

        def beat(number: int = 0, *, read: bool = False) -> None:
            self._store.beat(POOL, f"worker:{number}", Beat(loads, attempts), read=read)

        alone = self._sent(beat)
        for number in range(WORKERS):
            beat(number)
        return {"beat": alone, "other": max(0.0, self._sent(lambda: beat(read=True), 0.02) - alone) / WORKERS}


def measured(*, quick: bool = False) -> Costs:
    """On this machine, in some seconds. Ends with a message where no Valkey is."""
    port = free_ports(1)[0]
    command = [str(find_binary()), "--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no"]
    command += ["--enable-debug-command", "local"]
    with running([command], port):
        bench = _Bench(port, COMMANDS // 4 if quick else COMMANDS)
        return median_of([bench.all() for _ in range(ROUNDS)])


def median_of(rounds: Sequence[Costs]) -> Costs:
    """Each cost by itself."""
    return Costs(**{name: median(getattr(costs, name) for costs in rounds) for name in Costs.__slots__})
