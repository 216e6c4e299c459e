"""The control plane of a worker over a store in memory, asked as Flask's test client asks."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from lbflask.config.schema import Config
from lbflask.control.api.blueprint import blueprint
from lbflask.control.api.endpoints import AdminApi
from lbflask.control.auth import Authenticator, TokenSet
from lbflask.control.doctor.backends import ConnectFailure
from lbflask.control.operations import Operations, Running
from lbflask.core.ejection import FailureReport
from lbflask.core.failure_causes import FailureCause
from lbflask.core.fleet_events import FleetEvent
from lbflask.core.fleet_stats import Roster, Waits, WorkerIdentity
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Backend, Health, Override, Snapshot
from lbflask.core.reload import ReloadOutcome
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.local_worker import LocalWorker
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import HealthWrite, StoreMemory
from lbflask.telemetry.debug import DebugSwitch
from tests.fleet.stores import FlakyStore
from tests.store.stores import ManualClock

ALICE, BOB, GRAFANA = "alice-has-a-secret-token", "bob-has-another-token", "grafana-may-only-read"
TOKENS = [f"operator:alice:{ALICE}", f"operator:bob:{BOB}", f"read:grafana:{GRAFANA}"]
TWO = {"backends": ["http://10.0.0.1:80", {"url": "http://10.0.0.2:80", "name": "two", "weight": 3}]}
UP, DOWN = (
    ActiveHealth(Health.UP, 0, "connected", 1.5),
    ActiveHealth(Health.DOWN, 0, "connection refused", 2.5, FailureCause.REFUSED),
)


class OperatorsStore(FlakyStore):
    """The same with the operators' port."""

    memory: StoreMemory | None = None

    def write_override(
        self, pool: str, backend: str, before: Override | None, after: Override | None, *, version: int = 0
    ) -> bool:
        self._trip("write_override", backend)
        return self.facts.write_override(pool, backend, before, after, version=version)

    def read_memory(self) -> StoreMemory | None:
        self._trip("read_memory", "")
        return self.memory

    def read_roster(self, pool: str) -> Roster:
        self._trip("read_roster", pool)
        return self.facts.read_roster(pool)

    def read_events(self, count: int, *, before: str = "") -> list[FleetEvent]:
        self._trip("read_events", before)
        return self.facts.read_events(count, before=before)

    def follow_events(self, after: str, count: int) -> list[FleetEvent]:
        self._trip("follow_events", after)
        return self.facts.follow_events(after, count)


class Counter:
    """The counter at which operators are served."""

    def __init__(self, *, debug: DebugSwitch | None = None, **settings: Any) -> None:
        if debug is None:
            debug, directory = DebugSwitch(), Path(mkdtemp())
            debug.start(directory)
            weakref.finalize(self, shutil.rmtree, directory)
        self.debug = debug
        self.config = Config.model_validate({**TWO, **settings})
        self.running = Running.from_config(self.config)
        self.clock = ManualClock()
        self.facts = MemoryStore(self.clock)
        self.store = OperatorsStore(self.facts)
        self.waits: dict[str, Waits] = {}  #: of this worker, by backend
        worker = LocalWorker(WorkerIdentity("one", "host"), waits=lambda _: self.waits)
        self.fleet = Fleet(self.store, list(self.running.pools), worker=worker)
        self.unreachable: dict[str, ConnectFailure] = {}
        self.reload = lambda: ReloadOutcome(0, "v2", in_place=("backends",))
        self.api = AdminApi(
            Operations(self.store, self.fleet, lambda: self.running),
            Authenticator(TokenSet(self.config.admin), self.clock),
            "one",
            lambda _, backend, __: self.unreachable.get(backend.id),
            lambda: self.reload(),  # noqa: PLW0108 - a test may exchange it
            debug=self.debug,
        )
        self.app = Flask("test", static_folder=None)
        self.app.url_map.merge_slashes = False
        self.app.register_blueprint(blueprint(self.api.table(), Authenticator(TokenSet(self.config.admin), self.clock)))
        self.client = self.app.test_client()

    def ask(self, method: str, path: str, token: str = "", admin: bool = True, **more: Any) -> TestResponse:
        """The answer to a request that came through the admin listener, unless told otherwise."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= more.pop("headers", {})
        environ = {"lbflask.admin": admin, "wsgi.multithread": True}
        more.setdefault("base_url", "http://127.0.0.1:8090")
        return self.client.open(f"/api/v1{path}", method=method, headers=headers, environ_overrides=environ, **more)

    def get(self, path: str, token: str = "", **more: Any) -> Any:
        """The document at a path."""
        answer = self.ask("GET", path, token, **more)
        assert answer.status_code == 200, answer.text
        return answer.json

    def act(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        """The document that an action gives."""
        answer = self.ask(method, path, **more)
        assert answer.status_code == status, answer.text
        return answer.json

    def check(self, pool: str = "default", **states: ActiveHealth) -> None:
        """Let a checker say this."""
        lease = self.facts.hold_lease(pool, "checker:1:a", 600)
        assert lease is not None
        named = {id_.replace("_", ":"): state for id_, state in states.items()}
        assert self.facts.write_active(pool, HealthWrite(lease.epoch, named, interval=1.0, announce=True))

    def snapshot(self, pool: str = "default") -> Snapshot:
        return self.facts.read_snapshot(pool, NOTHING_KNOWN)

    def overrides(self) -> dict[str, Override]:
        return dict(self.snapshot().overrides)

    def eject(self, backend: Backend) -> None:
        assert self.facts.count_failures("default", backend.id, FailureReport(9, 9, 9), self.config.ejection_rule())


@contextmanager
def token_file(path: Path, *lines: str) -> Iterator[Path]:
    path.write_text("\n".join(lines))
    yield path
