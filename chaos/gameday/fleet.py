"""The fleet of a game day on 127.0.0.1: a store, three backends, two checkers, and two gunicorns of two workers each,
under TLS. Each instance and both checkers have a file of their own, so that an incident can set one apart.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import redis

from chaos.checkers import leader
from chaos.cluster import CHECKERS, INSTANCES, WORKERS
from chaos.gameday.traffic import SHORT, Clients
from chaos.store import SingleStore
from devtools.certificates import Authority
from devtools.cluster import Cluster
from devtools.environment import HOST
from devtools.ports import free_port
from devtools.servers import Gunicorn, Process, get, listens, runtime_directory, start_checker
from devtools.wait import eventually

#: Seconds between two checks of a backend, for a check, and of an ejection.
CHECK_INTERVAL, CHECK_TIMEOUT, EJECTION = 1, 1, 5
#: Seconds in which an instance whose workers are being replaced reloads again.
RELOADED_WITHIN = 40.0
#: Paths and requests per second of the clients of each instance.
LOAD = (("/", 10.0), ("/", 10.0), ("/slow", 3.0))
#: Names of the backends of the default pool, and of the one of the pool with a bound.
NAMES, SINGLE = ("w1", "w2", "w3"), "s1"
#: Secrets of sticky sessions.
SECRET, OTHER_SECRET = "a-secret-of-this-game-day-" * 2, "another-secret-of-this-day-" * 2

Settings = dict[str, Any]


def unchanged(settings: Settings) -> None:
    """No change of the settings."""


class GameBackend:
    """A backend, which can be killed and started again on its port."""

    def __init__(self, running: ExitStack, work: Path, name: str) -> None:
        self.name, self.port = name, free_port()
        self.url = f"http://{HOST}:{self.port}"
        self._running, self._log = running, work / f"{name}.log"
        self.process = self._start()

    def _start(self) -> Process:
        command = [sys.executable, "-m", "chaos.backend", str(self.port), str(self._log)]
        process = self._running.enter_context(Process(command))
        process.await_start(lambda: listens(self.port), f"a backend on {self.port}")
        return process

    def restart(self) -> None:
        """Start it anew, after killing it if it runs."""
        self.process.kill()
        self.process = self._start()

    def become(self, mode: str) -> None:
        """Change the mode. Raises ValueError for an unknown one."""
        if get(self.port, f"/-/{mode}").status != 200:
            raise ValueError(mode)


class GameFleet(Cluster):
    """The processes. All of them end with the block; `incident` has what ends with an incident."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.authority = Authority(work)
        self.certificate = self.authority.pair(HOST)
        self.incident = ExitStack()
        self.quicken: Callable[[], None] = lambda: None  #: ends what makes the store slow
        self.said: list[str] = []  #: by commands that changed something, for those that look for a reason
        self.changed = False  #: whether a file is not the usual one
        with ExitStack() as starting:
            self._parts = starting.enter_context(ExitStack())  # also for what is started again later
            self.state = SingleStore(self._parts)
            self.members = {name: GameBackend(self._parts, work, name) for name in NAMES}
            super().__init__(instances=0, backends=[], redis_url=self.state.url)
            self.running.push(starting.pop_all())

    def __enter__(self) -> Self:
        self.write()
        super().__enter__()
        self.balancers = [self.start_instance(number) for number in range(INSTANCES)]
        self.checkers = [self.start_checker() for _ in range(CHECKERS)]
        self.await_up()
        return self

    def await_up(self) -> None:
        """Wait until each instance has heard that all backends are up."""

        def up() -> bool:
            return all({one["health"] for one in states.values()} == {"up"} for states in self.states())

        eventually(up, "all are up")

    def assert_no_traceback(self) -> None:
        """Do nothing: some incidents break what a process needs."""

    # Configuration

    def usual(self) -> Settings:
        """The configuration of all processes."""
        urls = [{"url": self.members[name].url, "name": name} for name in NAMES]
        bounded = {"url": self.members[NAMES[-1]].url, "name": SINGLE, "max_connections": 2}
        found: Settings = {
            "backends": urls,
            "pools": {"single": {"backends": [bounded], "queue": {"length": 4, "timeout": 2}}},
            "routes": [
                {"name": "single", "match": {"path": "/single"}, "pool": "single", "strip_prefix": True},
                {"name": "limited", "match": {"path": "/limited"}, "pool": "default", "rate_limit": "narrow"},
                {"name": "all", "pool": "default"},
            ],
            "rate_limits": {"narrow": {"rate": 10, "key": "none"}},
            "health": {
                "interval": CHECK_INTERVAL, "timeout": CHECK_TIMEOUT, "path": "/check", "fall": 2, "rise": 1,
            },
            "ejection": {"duration": EJECTION},
            "sticky": {"cookie": "LB", "secrets": [SECRET]},
            "backend_tls": {"ca_file": self.authority.ca_file},
            "tls": {"certificate": self.certificate.certificate, "key": self.certificate.key},
        }  # fmt: skip
        return found

    def file_of(self, number: int | None) -> Path:
        """The file of an instance, or of the checkers."""
        return self.work / f"{'checker' if number is None else f'instance-{number}'}.toml"

    def write(self, change: Callable[[Settings], object] = unchanged, *, only: tuple[int | None, ...] = ()) -> None:
        """Write the files, with a change of their settings; that change to some of them `only`."""
        self.changed = change is not unchanged
        for number in (*range(INSTANCES), None):
            settings = self.usual()
            if not only or number in only:
                change(settings)
            new = self.file_of(number).with_suffix(".new")
            new.write_text("".join(f"{key} = {toml(value)}\n" for key, value in settings.items()))
            new.rename(self.file_of(number))

    def reload(self) -> None:
        """Apply the files: `lbflask reload` at each instance, SIGHUP to the checkers."""
        for number in self.running_instances:
            eventually(partial(self._reloaded, number), f"instance {number} reloads", RELOADED_WITHIN, every=0.2)
        for checker in self.checkers:
            if checker.running:
                checker.signal(signal.SIGHUP)

    def _reloaded(self, number: int) -> bool:
        """Reload an instance, unless workers are being replaced, which is to be awaited."""
        said = self.command("reload", instance=number, code=None).strip()
        self.said.append(f"reload of instance {number}: {said}")
        return "ask again" not in said

    def apply(self, change: Callable[[Settings], object] = unchanged, *, only: tuple[int | None, ...] = ()) -> None:
        """Write the files, and apply them."""
        self.write(change, only=only)
        self.reload()

    # Processes

    def start_instance(self, number: int, **environ: str) -> Gunicorn:
        """Start an instance with its file."""
        settings = {"config": self.file_of(number), "redis_url": self.state.url}
        environ = {"XDG_RUNTIME_DIR": str(self.work), **environ}
        return self._parts.enter_context(Gunicorn(workers=WORKERS, environ=environ, **settings))

    def start_checker(self) -> Process:
        """Start a checker."""
        environ = {"XDG_RUNTIME_DIR": str(self.work), "LBFLASK_CONFIG": str(self.file_of(None))}
        return self._parts.enter_context(start_checker(environ, config=self.file_of(None), redis_url=self.state.url))

    def replace_instance(self, number: int, command: list[str] | None = None, **environ: str) -> None:
        """Start an instance at the ports of the former one, which has ended; by a command other than the usual one."""
        former = self.balancers[number]
        settings = {
            "config": self.file_of(number), "redis_url": self.state.url, "bind": f"{HOST}:{former.port}",
            "admin_bind": f"{HOST}:{former.admin_port}",
        }  # fmt: skip
        environ = {"XDG_RUNTIME_DIR": str(self.work), **environ}
        started = self._parts.enter_context(
            Gunicorn(workers=WORKERS, environ=environ, wait=False, command=command, **settings)
        )
        started.port, started.admin_port = former.port, former.admin_port
        started.await_ready()
        self.balancers[number] = started

    def clients(self, number: int) -> Clients:
        """Clients of an instance."""
        return Clients(self.balancers[number].port, self.authority)

    def handshake(self, port: int) -> None:
        """One TLS handshake as of a new client. Raises ssl.SSLError."""
        with socket.create_connection((HOST, port), SHORT) as plain:
            self.authority.trust().wrap_socket(plain, server_hostname=HOST).close()

    def leader(self) -> Process:
        """The checker that leads the default pool."""
        with redis.Redis.from_url(self.state.url, decode_responses=True) as client:
            return leader(self, client)

    # What an operator starts and runs

    @property
    def running_instances(self) -> list[int]:
        """The numbers of the instances that run, also those whose first master has ended after an upgrade."""
        return [number for number, balancer in enumerate(self.balancers) if Path(f"/proc/{balancer.master}").exists()]

    def shell_environment(self, instance: int) -> dict[str, str]:
        """The environment of an operator at the machine of an instance: its programs, its admin listener."""
        programs = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        url = f"http://{HOST}:{self.balancers[instance].admin_port}"
        return {
            "PATH": programs, "HOME": str(self.work), "XDG_RUNTIME_DIR": str(self.work), "LBFLASK_ADMIN_URL": url,
            "LBFLASK_CONFIG": str(self.file_of(instance)),
        }  # fmt: skip

    def start_by(self, command: str) -> None:
        """Start a checker, or the instance that has ended, by this command, with the settings that it has here."""
        shell = ["bash", "-c", f"exec {command}"]
        programs = {"PATH": self.shell_environment(0)["PATH"], "XDG_RUNTIME_DIR": str(self.work)}
        if "healthcheck" in command:
            settings = {"LBFLASK_CONFIG": str(self.file_of(None)), "LBFLASK_REDIS_URL": self.state.url}
            self.checkers.append(self._parts.enter_context(Process(shell, {**programs, **settings})))
        else:
            number = min({*range(INSTANCES)} - {*self.running_instances})
            self.replace_instance(number, shell, **programs)


def toml(value: Any) -> str:
    """A value in TOML."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


@contextmanager
def game_fleet() -> Iterator[GameFleet]:
    """A fleet under light load at both instances."""
    with runtime_directory() as work, GameFleet(work) as fleet:
        yield fleet


@contextmanager
def light_load(fleet: GameFleet) -> Iterator[None]:
    """Load at each instance for the length of an incident: on kept connections, and on new ones."""
    with ExitStack() as running:
        for number in range(INSTANCES):
            clients = fleet.clients(number)
            running.enter_context(clients.visiting())
            for path, rate in LOAD:
                running.enter_context(clients.flood(path, rate))
        yield
