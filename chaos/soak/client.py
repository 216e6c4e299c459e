"""The clients of the soak: a process that makes all kinds of exchanges with both instances, and records failures.

First it measures the capacity with CLIENTS clients that make one exchange after another; long ones run beside them.
Then it begins exchanges at a steady rate, whatever becomes of earlier ones, until its input ends. Connections are kept.
No request is repeated. Exchanges that would be more than MOST at once are not begun, and are counted.

It prints the capacity, reads the rate, and prints JSON at the end:

    python -m chaos.soak.client SECONDS CA_FILE PORT TLS_PORT
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from chaos.soak.content import LONGEST, PIECE, Target
from chaos.soak.exchange import SESSION_LENGTH, Exchange, Session
from chaos.soak.verdict import Failure, Move
from devtools.environment import ROOT, raise_file_limit
from devtools.load_client import Connection

#: Of a hundred exchanges.
MIX = {"get": 50, "post": 20, "session": 16, "upload": 4, "download": 6, "events": 2, "websocket": 2}
LONG = frozenset({"upload", "download", "events", "websocket"})
#: Clients that measure the capacity, sessions at once, and exchanges at once at most.
CLIENTS, SESSIONS, MOST = 16, 60, 2000
#: Idle connections to an instance that are kept, and seconds for which they are.
IDLE, IDLE_SECONDS = 24, 20.0
#: Seconds by which exchanges may begin late before they are left out.
LATE = 1.0
#: Seconds for the last exchanges.
LAST = 90.0


@dataclass(slots=True)
class Tally:
    """What became of the exchanges: `succeeded` by second and kind, `left_out` those that were not begun."""

    succeeded: Counter[tuple[int, str]] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    left_out: int = 0

    @property
    def total(self) -> int:
        """Exchanges that have ended."""
        return sum(self.succeeded.values()) + len(self.failures)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        succeeded = [[second, kind, count] for (second, kind), count in self.succeeded.items()]
        return {
            "succeeded": succeeded,
            "failures": [asdict(failure) for failure in self.failures],
            "moves": [asdict(move) for move in self.moves],
            "left_out": self.left_out,
        }

    @classmethod
    def of(cls, document: dict[str, Any]) -> Tally:
        """The reverse of `document`."""
        succeeded = Counter({(second, kind): count for second, kind, count in document["succeeded"]})
        failures = [Failure(**failure) for failure in document["failures"]]
        return cls(succeeded, failures, [Move(**move) for move in document["moves"]], document["left_out"])


class KeptConnections:
    """Idle connections to an instance. The longest idle one is used next, so that each worker gets its part."""

    def __init__(self, port: int, tls: ssl.SSLContext | None) -> None:
        self.port = port
        self._tls = tls
        self._idle: deque[tuple[float, Connection]] = deque()

    def take(self) -> Connection:
        """One that can be used, or a new one."""
        while self._idle:
            since, connection = self._idle.popleft()
            if not connection.stale and time.monotonic() - since < IDLE_SECONDS:
                return connection
            connection.close()
        return Connection(self.port, self._tls)

    def give(self, connection: Connection) -> None:
        """Keep it, if it is open and there is room."""
        if len(self._idle) < IDLE and connection.connected:
            self._idle.append((time.monotonic(), connection))
        else:
            connection.close()

    def close(self) -> None:
        """Close all of them."""
        while self._idle:
            self._idle.popleft()[1].close()


class Clients:
    """Makes the exchanges, in their process."""

    def __init__(self, kept: list[KeptConnections], seed: int = 1) -> None:
        self.tally = Tally()
        self._kept = kept
        self._dice = random.Random(seed)
        self._targets = self._draw()
        self._sessions = deque(Session(name) for name in range(SESSIONS))
        self._names = SESSIONS
        self._under_way: set[asyncio.Task[None]] = set()

    def _draw(self) -> Iterator[Target]:
        """Targets without end, in the proportions of the mix."""
        deck, number = [kind for kind, count in MIX.items() for _ in range(count)], 0
        while True:
            self._dice.shuffle(deck)
            for kind in deck:
                number += 1
                yield Target(kind, number, self._size(kind))

    def _size(self, kind: str) -> int:
        """Bytes of a body, or the number of events or of frames."""
        match kind:
            case "post":
                return self._dice.randrange(1, 8192)
            case "upload" | "download":
                return self._dice.randrange(PIECE, LONGEST // 2)
            case "events" | "websocket":
                return self._dice.randrange(4, 24)
        return 0

    async def measure(self, seconds: float) -> float:
        """Exchanges a second of clients that never pause; long exchanges begin beside them, and go on afterwards."""
        began = time.monotonic()
        count = 0

        async def client() -> None:
            nonlocal count
            while time.monotonic() - began < seconds:
                target = next(self._targets)
                count += 1
                if target.kind in LONG:
                    self._begin(target)
                else:
                    await self._exchange(target)

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return count / (time.monotonic() - began)

    async def run(self, rate: float, stop: asyncio.Event) -> None:
        """Begin exchanges at this rate until `stop`, and wait for the last."""
        due = time.monotonic()
        while not stop.is_set():
            now = time.monotonic()
            if now > due + LATE:
                self.tally.left_out += int((now - due) * rate)
                due = now
            await asyncio.sleep(max(0.0, due - now))
            due += 1 / rate
            target = next(self._targets)
            if len(self._under_way) < MOST:
                self._begin(target)
            else:
                self.tally.left_out += 1
        await self._finish()

    def _begin(self, target: Target) -> None:
        task = asyncio.create_task(self._exchange(target))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _finish(self) -> None:
        if self._under_way:
            done, left = await asyncio.wait(self._under_way, timeout=LAST)
            for task in done:
                task.result()
            if left:
                raise RuntimeError(f"{len(left)} exchanges did not end")

    async def _exchange(self, target: Target) -> None:
        kept = self._kept[target.number % len(self._kept)]
        connection = kept.take()
        session = self._sessions.popleft() if target.kind == "session" and self._sessions else None
        if target.kind == "session" and session is None:
            session = self._new_session()
        exchange = Exchange(target, kept.port, connection, session)
        failure = await exchange.run()
        if failure is None:
            self.tally.succeeded[int(exchange.began), target.kind] += 1
        else:
            self.tally.failures.append(failure)
        if exchange.move is not None:
            self.tally.moves.append(exchange.move)
        if session is not None:
            # After a failure it is unknown whether the backend has counted the request.
            over = failure is not None or session.requests >= SESSION_LENGTH
            if len(self._sessions) < SESSIONS:
                self._sessions.append(self._new_session() if over else session)
        kept.give(connection)

    def _new_session(self) -> Session:
        self._names += 1
        return Session(self._names)


class ClientProcess:
    """The process, from outside. It has measured the capacity when this returns: exchanges a second."""

    def __init__(self, seconds: float, ca_file: str, ports: tuple[int, int]) -> None:
        command = [sys.executable, "-m", "chaos.soak.client", str(seconds), ca_file, *map(str, ports)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        first = self._process.stdout.readline() if self._process.stdout else ""
        if not first:
            self.kill()
            raise RuntimeError("the clients failed while they measured the capacity")
        self.capacity = float(first)

    def begin(self, rate: float) -> None:
        """Begin exchanges at this rate."""
        if self._process.stdin is not None:
            self._process.stdin.write(f"{rate}\n")
            self._process.stdin.flush()

    def stop(self) -> Tally:
        """Begin no more, and return what became of all, when the last has ended. Raises RuntimeError if it failed."""
        try:
            output, _ = self._process.communicate(timeout=LAST + 10)
        except subprocess.TimeoutExpired:
            raise RuntimeError("the clients did not end") from None
        if self._process.returncode != 0:
            raise RuntimeError("the clients failed")
        return Tally.of(json.loads(output))

    def kill(self) -> None:
        """Kill the process, unless it has ended."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


async def main() -> None:
    raise_file_limit()
    seconds, ca_file, port, tls_port = sys.argv[1:]
    kept = [
        KeptConnections(int(port), None),
        KeptConnections(int(tls_port), ssl.create_default_context(cafile=ca_file)),
    ]
    clients = Clients(kept)
    print(await clients.measure(float(seconds)), flush=True)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    rate = float(await loop.run_in_executor(None, sys.stdin.readline))
    clients.tally.succeeded.clear()

    def end() -> None:
        loop.remove_reader(sys.stdin.fileno())
        stop.set()

    loop.add_reader(sys.stdin.fileno(), end)
    await clients.run(rate, stop)
    for one in kept:
        one.close()
    print(json.dumps(clients.tally.document()))


if __name__ == "__main__":
    asyncio.run(main())
