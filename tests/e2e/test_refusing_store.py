"""A store that answers reads and refuses writes is as good as dead: the state does not flap, what was learned locally
stays in force, and operators are told why.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from devtools.scripted_backend import ScriptedBackend, answering_always
from devtools.servers import Gunicorn, free_port, get, start_checker, start_valkey, urls
from devtools.wait import eventually
from lbflask.cli import main
from lbflask.store.keys import PoolKeys

pytestmark = pytest.mark.e2e

KEYS = PoolKeys("lbflask", "default")
#: A new ACL is for new connections and those that are there, and this one is the default user's.
ADMIN = "admin"


class Refusal:
    """A Valkey that can be made to refuse. `administer` is a client that always may everything."""

    def __init__(self, running: ExitStack, directory: Path, *options: str) -> None:
        self.running = running
        self.port = free_port()
        self.server = running.enter_context(
            start_valkey("--dir", str(directory), "--enable-protected-configs", "yes", *options, port=self.port)
        )
        self.directory = directory
        with redis.Redis(port=self.port) as client:
            client.execute_command("ACL", "SETUSER", ADMIN, "on", ">secret", "+@all", "allkeys", "allchannels")
        self.administer = running.enter_context(redis.Redis(port=self.port, username=ADMIN, password="secret"))

    def begin(self) -> None: ...

    def end(self) -> None: ...


class Replica(Refusal):
    """READONLY: the primary is another one, as after a fail-over."""

    def begin(self) -> None:
        primary = free_port()
        self.running.enter_context(start_valkey("--dir", str(self.directory), port=primary))
        # One that never comes to replicate keeps its data.
        self.administer.config_set("masterauth", "wrong")
        self.administer.execute_command("REPLICAOF", "127.0.0.1", free_port())

    def end(self) -> None:
        self.administer.execute_command("REPLICAOF", "NO", "ONE")


class Stale(Replica):
    """MASTERDOWN: a replica that has lost its primary, and is not to answer from what it has."""

    def begin(self) -> None:
        self.administer.config_set("replica-serve-stale-data", "no")
        super().begin()


class Full(Refusal):
    """OOM."""

    def begin(self) -> None:
        self.administer.config_set("maxmemory", 1)

    def end(self) -> None:
        self.administer.config_set("maxmemory", 0)


class Lonely(Refusal):
    """NOREPLICAS."""

    def begin(self) -> None:
        self.administer.config_set("min-replicas-to-write", 1)

    def end(self) -> None:
        self.administer.config_set("min-replicas-to-write", 0)


class Unsaved(Refusal):
    """MISCONF: the latest snapshot could not be written to disk."""

    def begin(self) -> None:
        (self.directory / "taken" / "by-another").mkdir(parents=True)
        self.administer.config_set("dbfilename", "taken")
        self.administer.config_set("save", "3600 1")
        self.administer.bgsave()
        eventually(lambda: self.administer.info("persistence")["rdb_last_bgsave_status"] == "err", "it has failed")

    def end(self) -> None:
        self.administer.config_set("save", "")
        self.administer.config_set("stop-writes-on-bgsave-error", "no")


class MayNot(Refusal):
    """NOPERM: the user of lbflask may not what `rule` takes from him."""

    rule = ""

    def begin(self) -> None:
        self.administer.execute_command("ACL", "SETUSER", "default", *self.rule.split())

    def end(self) -> None:
        self.administer.execute_command("ACL", "SETUSER", "default", "+@all", "allkeys", "allchannels", "nopass", "on")


class MayNotWrite(MayNot):
    rule = "-@write"


class MayOnlyReadKeys(MayNot):
    rule = "resetkeys %R~*"


class MayNotHash(MayNot):
    rule = "-hset"


class MayNotCount(MayNot):
    rule = "-hincrby"


class MayNotTakeTickets(MayNot):
    rule = "-incrby"


class MayNotScript(MayNot):
    rule = "-@scripting"


class HasNoKeys(MayNot):
    rule = "resetkeys ~other:*"


class HasAPassword(MayNot):
    """WRONGPASS and NOAUTH: new connections are refused, and those that there are end."""

    rule = "resetpass >another"

    def begin(self) -> None:
        super().begin()
        self.administer.execute_command("CLIENT", "KILL", "USER", "default")


MEMBERS: dict[str, tuple[type[Refusal], str]] = {
    "READONLY": (Replica, "READONLY"),
    "MASTERDOWN": (Stale, "MASTERDOWN"),
    "OOM": (Full, "OOM"),
    "NOREPLICAS": (Lonely, "NOREPLICAS"),
    "MISCONF": (Unsaved, "MISCONF"),
    "NOPERM -@write": (MayNotWrite, "NOPERM"),
    "NOPERM of keys": (MayOnlyReadKeys, "NOPERM"),
    "NOPERM no keys": (HasNoKeys, "NOPERM"),
    "NOPERM -hset": (MayNotHash, "NOPERM"),
    "NOPERM -hincrby": (MayNotCount, "NOPERM"),
    "NOPERM -incrby": (MayNotTakeTickets, "NOPERM"),
    "NOPERM -@scripting": (MayNotScript, "NOPERM"),
    "NOAUTH": (HasAPassword, "NOAUTH|WRONGPASS"),
}
#: A part of the advice of `doctor` for each code.
ADVICE = {
    "READONLY": "replicaof no one",
    "MASTERDOWN": "cluster info",
    "OOM": "config set maxmemory",
    "NOREPLICAS": "`min-replicas-to-write`",
    "MISCONF": "info persistence",
    "NOPERM": "acl log",
    "NOAUTH": "acl whoami",
    "WRONGPASS": "acl whoami",
}
#: Where the checker can go on while no health changes.
CHECKER_MAY = {"NOPERM -hset", "NOPERM -hincrby", "NOPERM -incrby"}


def health(balancer: Gunicorn) -> tuple[str, str]:
    document = balancer.health()[1]
    return document["store"], document.get("store_error", "")


def states(balancer: Gunicorn) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = balancer.health()[1]["pools"]["default"]["states"]
    return found


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.sampled(13, 7)
def test_a_store_that_refuses_writes(member: str, demos: list[int], tmp_path: Path) -> None:
    kind, code = MEMBERS[member]
    dead = free_port()
    with ExitStack() as running:
        store = kind(running, tmp_path)
        settings = {
            "redis_url": f"redis://127.0.0.1:{store.port}/0",
            "backends": urls([*demos, dead]),
            "health__interval": 0.2,
        }
        checker = running.enter_context(start_checker(**settings))
        balancer = running.enter_context(Gunicorn(workers=1, **settings))
        down = f"127.0.0.1:{dead}"
        eventually(lambda: states(balancer)[down]["health"] == "down", "checks have found it down")
        store.begin()
        eventually(lambda: get(balancer.port) and health(balancer)[0] == "unreachable", "the worker notices")
        eventually(lambda: any(one in health(balancer)[1] for one in code.split("|")), "the reason is known")
        tells_why(balancer, code)
        # On a busy machine a read may have been late before.
        losses = balancer.output.count("the store is out of reach")
        assert losses
        # What checks have found stays without a heartbeat; reports of changes would show a state that flaps.
        for _ in range(40):
            assert get(balancer.port).status == 200
            assert health(balancer)[0] == "unreachable"
            assert (states(balancer)[down]["health"], states(balancer)[down]["serving"]) == ("down", False)
        assert balancer.output.count("the store is out of reach") == losses, balancer.output
        if member not in CHECKER_MAY:
            eventually(lambda: "waiting for the store" in checker.output, "the checker waits")
        store.end()
        eventually(lambda: health(balancer)[0] == "connected", f"it is back: {balancer.output}")
        eventually(lambda: states(balancer)[down]["health"] == "down", "checks go on")
        eventually(lambda: balancer.output.count("the store is back") == losses, "it is logged")
        for process in (balancer, checker):
            process.assert_no_traceback()


def tells_why(balancer: Gunicorn, code: str) -> None:
    """Each place where operators look names the reason."""
    codes = code.split("|")
    environ = {"LBFLASK_ADMIN_URL": f"http://127.0.0.1:{balancer.admin_port}", "COLUMNS": "300"}
    told = {
        "/health": json.dumps(balancer.health()[1]),
        "status": CliRunner().invoke(main, ["status"], env=environ).output,
        "doctor": CliRunner().invoke(main, ["doctor"], env=environ).output,
    }
    for place, text in told.items():
        assert any(one in text for one in codes), f"{place}: {text}"
    assert "answers/s unknown (instances " in told["status"]
    assert "✗" in told["doctor"]
    assert any(ADVICE[one] in told["doctor"] for one in codes), told["doctor"]
    assert "workers" not in told["doctor"], "what follows from the store is left out"


@pytest.mark.long
def test_a_backend_that_fails_stays_ejected_while_the_store_refuses(demos: list[int], tmp_path: Path) -> None:
    with ExitStack() as running:
        store = Full(running, tmp_path)
        bad = running.enter_context(ScriptedBackend(answering_always(b"HTTP/1.1 500 Bad\r\nContent-Length: 0\r\n\r\n")))
        settings = {
            "redis_url": f"redis://127.0.0.1:{store.port}/0",
            "backends": f"{urls(demos)},{bad.url}",
            "ejection__duration": 600,
            "ejection__max_duration": 600,
        }
        balancer = running.enter_context(Gunicorn(workers=1, **settings))
        store.begin()
        eventually(lambda: health(balancer)[0] == "unreachable", "the worker notices")

        def ejected() -> bool:
            get(balancer.port)
            return any(state["ejected"] for state in states(balancer).values())

        eventually(ejected, "it is ejected by what this worker sees")
        assert [get(balancer.port).status for _ in range(100)] == [200] * 100


@pytest.mark.long
def test_a_worker_that_begins_with_such_a_store_knows_at_once(demos: list[int], tmp_path: Path) -> None:
    with ExitStack() as running:
        store = Full(running, tmp_path)
        store.begin()
        settings = {"redis_url": f"redis://127.0.0.1:{store.port}/0", "backends": urls(demos)}
        balancer = running.enter_context(Gunicorn(workers=1, **settings))
        assert health(balancer)[0] == "unreachable"
        assert "OOM" in health(balancer)[1]
        assert get(balancer.port).status == 200
