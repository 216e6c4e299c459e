"""A balancer with its backend: started once, made as new for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from devtools.parsers import PARSERS
from devtools.raw_client import RawClient
from devtools.scripted_backend import ScriptedBackend
from devtools.servers import Gunicorn
from devtools.wait import PATIENCE, eventually
from tests.support.programmed import Programme, ProgrammedBackend

#: Bytes of a request body that the balancers accept.
BODY_LIMIT = 200_000

#: gunicorn's arguments for each kind of server.
OWN = {parser: ("--http-parser", parser) for parser in PARSERS}
STOCK = {"gevent": ("-k", "gevent"), "gthread": ("-k", "gthread", "--threads", "4"), "sync": ("-k", "sync")}


@dataclass(slots=True)
class Rig:
    """A balancer with its backend; `seen` is how much of its output earlier tests have looked at."""

    kind: str
    balancer: Gunicorn
    backend: ProgrammedBackend
    servers: tuple[ScriptedBackend, ...] = ()
    seen: int = 0
    patience: float = PATIENCE

    @property
    def port(self) -> int:
        return self.balancer.port

    def connect(self) -> RawClient:
        return RawClient(self.port, self.patience)

    def settle(self) -> None:
        """Wait until the backend has read what it was sent, so that it is not taken for the next test's."""
        with suppress(AssertionError):  # a script that is stuck has failed its test already
            eventually(lambda: all(server.settled() for server in self.servers), "the backend has read all", 1.0, 0.001)

    def assert_no_traceback(self) -> None:
        """Nothing that happened since the last look was an error that nobody foresaw."""
        output = self.balancer.output
        told = output[self.seen :]
        assert "Traceback" not in told, told


def start(
    kind: str,
    store: str,
    *arguments: str,
    backend: ProgrammedBackend | None = None,
    others: tuple[str, ...] = (),
    more: tuple[ScriptedBackend, ...] = (),
    **settings: object,
) -> Iterator[Rig]:
    """A fixture's body: a balancer with one worker, until the end of the session.

    Its backends are one of its own, `more` that are listened for, and the URLs in `others`.
    """
    backend = backend or ProgrammedBackend()
    with ScriptedBackend(backend.play) as server:
        merged = {
            "redis_url": store,
            "namespace": f"conformance-{kind}",
            "backends": ",".join([server.url, *(other.url for other in more), *others]),
            "access_log": "",
            "ejection__failures": 0,  # else the failures of one case would be felt in the next
            "limits__body": BODY_LIMIT,
            "timeouts__graceful": 1,
            **settings,
        }
        if "config" in settings:
            del merged["backends"]  # the environment would beat the file
        with Gunicorn(*arguments, workers=1, **merged) as balancer:
            yield Rig(kind, balancer, backend, (server, *more))
            assert balancer.stop() == 0


def fresh(rig: Rig) -> Iterator[Rig]:
    """A fixture's body: the rig with nothing programmed and nothing received, for one test.

    At its end, whether the script failed, or the balancer met an error that nobody foresaw.
    """
    rig.backend.programme = programme = Programme()
    rig.seen = len(rig.balancer.output)
    yield rig
    rig.settle()
    assert programme.failures == []
    rig.assert_no_traceback()
