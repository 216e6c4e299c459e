"""Incidents of the store: away, frozen, read-only, full, evicting, locked, empty, slow."""

from __future__ import annotations

import signal
import threading
import time

import redis

from chaos.gameday.fleet import GameFleet
from chaos.gameday.incident import NOTHING, Incident
from devtools.environment import HOST
from devtools.ports import free_port
from devtools.wait import eventually

PASSWORD = "changed"
#: Seconds of a pause of the store, and between two of them.
PAUSE, RUN = 0.04, 0.004
ANSWERS = "^store: answers"


def admin(fleet: GameFleet, password: str | None = None) -> redis.Redis:
    """A client of the store with its own connection, which is closed with the incident."""
    client = redis.Redis(host=HOST, port=fleet.state.port, password=password)
    fleet.incident.callback(client.close)
    return client


def kill(fleet: GameFleet) -> None:
    fleet.state.server.kill()


def start(fleet: GameFleet) -> None:
    fleet.state.restart()


def freeze(fleet: GameFleet) -> None:
    fleet.state.server.signal(signal.SIGSTOP)


def thaw(fleet: GameFleet) -> None:
    fleet.state.server.signal(signal.SIGCONT)


def demote(fleet: GameFleet) -> None:
    """The store becomes a replica of a primary that is away."""
    admin(fleet).replicaof(HOST, free_port())


def fill(fleet: GameFleet) -> None:
    """The limit is half of what is in use."""
    client = admin(fleet)
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", str(client.info("memory")["used_memory"] // 2))
    fleet.incident.callback(client.config_set, "maxmemory", "0")


def evict(fleet: GameFleet) -> None:
    client = admin(fleet)
    client.config_set("maxmemory", "100mb")
    client.config_set("maxmemory-policy", "allkeys-lru")
    fleet.incident.callback(client.config_set, "maxmemory", "0")


def lock(fleet: GameFleet) -> None:
    """The password changes, and all clients must authenticate anew."""
    client = admin(fleet)
    client.config_set("requirepass", PASSWORD)
    for kind in ("pubsub", "normal"):
        client.client_kill_filter(_type=kind, skipme=True)


def unlock(fleet: GameFleet) -> None:
    admin(fleet, PASSWORD).config_set("requirepass", "")


def flush(fleet: GameFleet) -> None:
    """What an operator had set is lost with all data."""
    fleet.act("w3", "drain")
    eventually(lambda: all(states["w3"]["mode"] == "draining" for states in fleet.states()), "w3 is draining")
    admin(fleet).flushall()


def slow(fleet: GameFleet) -> None:
    """The store is stopped for nine tenths of the time: it answers late, but within its time-out."""
    stop, server = threading.Event(), fleet.state.server

    def pulse() -> None:
        while not stop.is_set():
            server.signal(signal.SIGSTOP)
            time.sleep(PAUSE)
            server.signal(signal.SIGCONT)
            stop.wait(RUN)

    thread = threading.Thread(target=pulse, daemon=True)

    def end() -> None:
        stop.set()
        thread.join()

    fleet.incident.callback(end)
    fleet.quicken = end
    thread.start()


def quicken(fleet: GameFleet) -> None:
    """End what takes its time away."""
    fleet.quicken()


INCIDENTS = [
    Incident("store killed", kill, {"doctor": r"^store: unreachable.*refused", "status": "(?i)store.*refused"},
             "store-away", advice="start Redis or Valkey", wrong=ANSWERS, by_hand=start, hand="start the store",
             executes=NOTHING),
    Incident("store frozen", freeze, {"doctor": "^store: unreachable.*(no answer|timed? ?out|Timeout)"}, "store-away",
             advice="it hangs.*--latency", wrong=ANSWERS, by_hand=thaw, hand="let the store go on"),
    Incident("store a read-only replica", demote, {"doctor": "^store: unreachable.*(?i:read.?only|replica)"},
             "store-away", advice=r"`redis-cli -u redis://127.0.0.1:\d+/0 replicaof no one`", wrong=ANSWERS),
    Incident("store full", fill, {"doctor": "^store: unreachable.*(?i:memory|OOM)"}, "store-away",
             advice=r"`redis-cli -u redis://127.0.0.1:\d+/0 config set maxmemory \d+mb`", wrong=ANSWERS),
    Incident("store evicts", evict, {"doctor": "^store memory: `maxmemory-policy` is allkeys-lru"}, "store-away",
             advice=r"`redis-cli -u redis://127.0.0.1:\d+/0 config set maxmemory-policy noeviction`"),
    Incident("password of the store changed", lock, {"doctor": "^store: unreachable.*(?i:auth|password)"},
             "store-away", advice="correct the user and the password in `redis_url`", wrong=ANSWERS, by_hand=unlock,
             hand="give the store its password back"),
    Incident("store flushed", flush,
             {"doctor": r"^store data: the store was emptied \d+ s ago.*pool default has lost .*w3",
              "log": "pool default: the store was emptied"}, "store-away", advice="`lbflask drain w3 --pool default`"),
    Incident("store slow", slow, {"doctor": r"^store: answers in \d\d+"}, "store-away", advice="give it a free core",
             wrong=ANSWERS, by_hand=quicken, hand="give the store a core"),
]  # fmt: skip
