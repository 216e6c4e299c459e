"""The compiled build and the same files as Python, side by side: for each request the backend gets the same bytes, the
client the same answer, and the access log the same line; each response of a backend reaches the client the same way.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import lbflask
from devtools.raw_client import ConnectionCut
from devtools.scripted_backend import Peer
from devtools.wait import eventually
from fuzz.corpus import inputs
from lbflask.build import Build, build
from tests.conformance.cases import ask
from tests.conformance.servers import Rig, start
from tests.conformance.test_fuzz import REQUESTS, try_all
from tests.support.changes import changes_of
from tests.support.programmed import Received, says_and_closes

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(build() is Build.PYTHON, reason="there is one build only: make test-compiled"),
]

#: A second request on the connection, which ends it.
LAST = ask(b"Connection: close", target=b"/last")
#: Short, so that the rest of a request that is not whole is not waited for.
SETTINGS = {f"timeouts__{name}": 1 for name in ("client_head", "client_body", "first_byte", "between_bytes")}
#: What differs from one time to the next: the date, identifiers, ports, times.
_VARIABLE = re.compile(
    rb"(?<=Date: )[^\r]+|(?<![0-9a-f])[0-9a-f]{16,36}(?![0-9a-f])|(?<=127\.0\.0\.1:)\d+|\d+\.\dms|^\d{4}-\S+Z",
    re.MULTILINE,
)


class Builds(NamedTuple):
    """A balancer of each build, with their access logs."""

    compiled: Rig
    python: Rig
    logs: tuple[Path, Path]


@pytest.fixture(scope="module")
def builds(_shared_valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builds]:
    folder = tmp_path_factory.mktemp("builds")
    libraries = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(Path(lbflask.__file__).parent, folder / "lbflask", ignore=libraries)
    logs = (folder / "compiled.log", folder / "python.log")
    compiled = start("builds-compiled", _shared_valkey, access_log=str(logs[0]), **SETTINGS)
    python = start("builds-python", _shared_valkey, access_log=str(logs[1]), cwd=folder, **SETTINGS)
    found = Builds(next(compiled), next(python), logs)
    builds = [rig.balancer.health()[1]["worker"]["build"] for rig in (found.compiled, found.python)]
    assert builds == ["compiled", "python"]
    yield found
    for started in (compiled, python):
        assert next(started, None) is None


def as_often(data: bytes) -> bytes:
    """The bytes without what differs from one time to the next."""
    return _VARIABLE.sub(b"*", data)


def answers(rig: Rig, request: bytes) -> bytes | None:
    """All that the client gets until the end of the connection; None if it is reset, which may overtake an answer."""
    with rig.connect() as client:
        try:
            client.send(request + LAST)
            return as_often(client.rest())
        except (ConnectionCut, BrokenPipeError, ConnectionResetError):
            return None


def agree(builds: Builds) -> Callable[[bytes], None]:
    """A check that both builds answer a request with the same bytes."""

    def check(request: bytes) -> None:
        found = [answers(rig, request) for rig in (builds.compiled, builds.python)]
        if None not in found:
            assert found[0] == found[1]

    return check


def lines(log: Path) -> list[bytes]:
    """The lines of the access log, without what differs from one time to the next."""
    return [as_often(line) for line in log.read_bytes().splitlines()] if log.exists() else []


def echo(peer: Peer, request: Received) -> None:
    """Answer with the request as it came, without the framing of its chunks, which depends on when they arrived."""
    body, rest = b"", peer.read_body(request.head)
    chunked = b"\r\ntransfer-encoding: chunked\r\n" in request.head.lower()
    while chunked and rest:
        size, _, rest = rest.partition(b"\r\n")
        count = int(size.split(b";")[0], 16)
        body, rest = body + rest[:count], rest[count + 2 :] if count else b""
    body = request.head + body + rest
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def test_requests_reach_the_backend_and_are_answered_and_logged_alike(builds: Builds) -> None:
    for rig in builds[:2]:
        rig.backend.answer = echo
    try_all(agree(builds), REQUESTS, *(data for _, data in inputs("request")))

    def logged() -> bool:
        return len({len(lines(log)) for log in builds.logs}) == 1

    eventually(logged, "both logs are complete")
    compiled, python = map(lines, builds.logs)
    assert compiled
    assert compiled == python


def test_responses_reach_the_client_alike(builds: Builds) -> None:
    known = [data for _, data in inputs("response")]

    def check(response: bytes) -> None:
        for rig in builds[:2]:
            rig.backend.answer = says_and_closes(response)
        agree(builds)(ask())

    try_all(check, changes_of(known), *known)
