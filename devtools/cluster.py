"""A whole fleet as real processes on 127.0.0.1: a store, backends, checkers and instances of gunicorn.

with Cluster(instances=2, workers=1, backends=3, checkers=1, health__interval=0.3) as cluster:
    get(cluster.balancers[0].port)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any, Self, TypeVar

import redis
from click.testing import CliRunner

from devtools.ports import free_port
from devtools.servers import Gunicorn, HttpResponse, Process, get, start_checker, start_demo, start_valkey
from devtools.wait import eventually
from lbflask.cli import main

AnyProcess = TypeVar("AnyProcess", bound=Process)


class Cluster:
    """Processes that run for the length of a `with` block, whose end fails if one of them has logged a traceback.

    `backends` is a number of demo backends, each a process, or a list: of their ports, or of URLs of others. Without a
    `redis_url` among the `settings` the cluster starts a store. With a `config` file, the file names the backends.
    `arguments` are those of gunicorn; `environ` is set for gunicorn and for the checkers.
    """

    def __init__(
        self,
        instances: int = 1,
        workers: int = 2,
        backends: int | Sequence[str | int] = 3,
        checkers: int = 0,
        *,
        arguments: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self._counts = instances, workers, checkers
        self._arguments = arguments
        self._environ = dict(environ or {})
        self._backends = backends
        self.settings = settings
        self.running = ExitStack()
        self.store: Process | None = None
        self.demos: dict[int, Process] = {}  #: by port
        self.urls: list[str] = []
        self.checkers: list[Process] = []
        self.balancers: list[Gunicorn] = []

    def __enter__(self) -> Self:
        instances, workers, checkers = self._counts
        with ExitStack() as starting:
            starting.push(self.running)
            if "redis_url" not in self.settings:
                port = free_port()
                self.store = self._run(start_valkey(port=port))
                self.settings["redis_url"] = f"redis://127.0.0.1:{port}/0"
            self._start_backends()
            self.checkers = [self._run(start_checker(self._environ, **self.settings)) for _ in range(checkers)]
            self.balancers = [
                self._run(Gunicorn(*self._arguments, workers=workers, environ=self._environ, **self.settings))
                for _ in range(instances)
            ]
            starting.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self.running:
            if kind is None:
                self.assert_no_traceback()

    def _run(self, process: AnyProcess) -> AnyProcess:
        self.running.enter_context(process)
        return process

    def _start_backends(self) -> None:
        backends = self._backends
        for one in [free_port() for _ in range(backends)] if isinstance(backends, int) else backends:
            if isinstance(one, int):
                self.start_demo(one)
            self.urls.append(f"http://127.0.0.1:{one}" if isinstance(one, int) else one)
        if self.urls and "config" not in self.settings:
            self.settings["backends"] = ",".join(self.urls)

    def start_demo(self, port: int) -> None:
        """Start the demo backend on this port, also after it was killed."""
        self.demos[port] = self._run(start_demo(port))

    @property
    def balancer(self) -> Gunicorn:
        """The first instance."""
        return self.balancers[0]

    @property
    def checker(self) -> Process:
        """The first checker."""
        return self.checkers[0]

    @property
    def processes(self) -> list[Process]:
        """The checkers and the instances."""
        return [*self.checkers, *self.balancers]

    @property
    def ids(self) -> list[str]:
        """The ids of the backends that are not configured by a file."""
        return [url.partition("://")[2] for url in self.urls]

    @property
    def redis_url(self) -> str:
        """The URL of the store."""
        return str(self.settings["redis_url"])

    @cached_property
    def client(self) -> redis.Redis:
        """A client of the store, which is closed with the cluster."""
        client: redis.Redis = redis.Redis.from_url(self.redis_url)
        self.running.callback(client.close)
        return client

    def assert_no_traceback(self) -> None:
        """Fail if a checker or an instance has logged a traceback."""
        for process in self.processes:
            if not process.output_file.closed:
                process.assert_no_traceback()

    def api(
        self, path: str, method: str = "GET", *, instance: int = 0, token: str = "", body: object = None
    ) -> HttpResponse:
        """The response of an instance's admin API."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        text = json.dumps(body) if body is not None else None
        return get(self.balancers[instance].admin_port, f"/api/v1{path}", method, headers, text)

    def act(self, backend: str, action: str, *, instance: int = 0, token: str = "", body: object = None) -> None:
        """Do to a backend of the default pool what an operator may do: `drain`, `off`, `enable` …; `weight` by PUT."""
        path, method = f"/pools/default/backends/{backend}/{action}", "PUT" if action == "weight" else "POST"
        response = self.api(path, method, instance=instance, token=token, body=body)
        assert response.status == 200, response.body

    def command(self, *arguments: str, code: int | None = 0, instance: int = 0, token: str = "") -> str:
        """The output of a command line that uses an instance's admin API, and ends with this code; None for any."""
        url = f"http://127.0.0.1:{self.balancers[instance].admin_port}"
        environ = {"LBFLASK_ADMIN_URL": url, "LBFLASK_ADMIN_TOKEN": token, "COLUMNS": "160"}
        result = CliRunner().invoke(main, arguments, env=environ)
        assert code is None or result.exit_code == code, result.output
        return result.output

    def ask(self, times: int = 1) -> list[int]:
        """Statuses of so many requests to each instance, each over a new connection."""
        return [get(balancer.port).status for _ in range(times) for balancer in self.balancers]

    def served_by(self, instance: int, count: int = 12) -> set[str]:
        """The ids of the demo backends that serve so many requests."""
        bodies = [get(self.balancers[instance].port).body for _ in range(count)]
        return {f"127.0.0.1:{body.split()[-1].decode()}" for body in bodies}

    def states(self) -> list[dict[str, Any]]:
        """What one worker of each instance knows of the backends of the default pool."""
        return [balancer.health()[1]["pools"]["default"]["states"] for balancer in self.balancers]

    def all_agree(self, condition: Callable[[dict[str, Any]], bool], rounds: int = 10) -> bool:
        """Whether the condition holds for the states of all workers. Rounds, since any worker may answer."""
        return all(condition(states) for _ in range(rounds) for states in self.states())

    def await_up(self) -> None:
        """Wait until each instance has heard that all backends are up."""
        eventually(
            lambda: all({one["health"] for one in states.values()} == {"up"} for states in self.states()), "all are up"
        )
