"""Clients that use what others need are named by the doctor, and its advice, put into the configuration, ends that."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from devtools.cluster import Cluster
from devtools.ports import free_port
from devtools.raw_client import RawClient
from devtools.servers import get
from devtools.wait import PATIENCE, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]

STRANGER = "127.0.0.2"


@contextmanager
def asking(port: int, source: str, pause: float) -> Iterator[None]:
    """A client at this address that asks again and again, with a pause in seconds."""
    stop = threading.Event()

    def run() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE, source_address=(source, 0))
        while not stop.wait(pause):
            with suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/")
                connection.getresponse().read()
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE)


@contextmanager
def cluster(tmp_path: Path, tables: str = "") -> Iterator[tuple[Cluster, Path, str]]:
    """Two instances of a worker each, with a backend, its configuration file, and the text of that."""
    backend, file = free_port(), tmp_path / "lbflask.toml"
    text = f'backends = ["http://127.0.0.1:{backend}"]\nadmin_bind = "127.0.0.1:0"\n{tables}'
    file.write_text(text)
    with Cluster(2, 1, [backend], config=file) as found:
        yield found, file, text


def findings(found: Cluster, check: str) -> list[dict[str, Any]]:
    document = json.loads(found.api("/doctor", instance=1).body)
    return [one for one in document["findings"] if one["level"] != "good" and check in one["check"]]


def test_a_client_with_most_of_the_requests_is_held_back_by_the_advised_limit(tmp_path: Path) -> None:
    with cluster(tmp_path) as (found, file, text):
        port = found.balancer.port
        with asking(port, "127.0.0.1", 0.2), asking(port, STRANGER, 0.02):
            (one,) = eventually(lambda: findings(found, "clients"), "it is named")
            assert re.match(rf"{re.escape(STRANGER)} makes [5-9]\d% of the requests \(\d+/s of \d+/s\)", one["finding"])
            rate, everywhere, command = re.findall(r"`([^`]*)`", one["advice"])[:3]
            assert command == "lbflask reload"
            file.write_text(f"{rate}\n{everywhere}\n{text}")
            found.command("reload", instance=0)
            found.command("reload", instance=1)
            eventually(lambda: not findings(found, "clients"), "the limit ends it")
            eventually(lambda: not findings(found, "answers"), "the limit is no trouble itself")
            answers = json.loads(found.api("/state").body)["fleet"]["answers"]
            assert ("429", "rate_limit", "each") in {(c["status"], c["cause"], c["name"]) for c in answers["causes"]}


UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n."


@contextmanager
def uploads(port: int, count: int) -> Iterator[list[RawClient]]:
    """So many uploads of a stranger that do not go on."""
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(port, source=STRANGER)) for _ in range(count)]
        for client in clients:
            client.send(UPLOAD)
        yield clients


def test_slow_uploads_that_hold_a_backend_are_ended_by_the_advised_limit(tmp_path: Path) -> None:
    with cluster(tmp_path) as (found, file, text):
        port, backend = found.balancer.port, found.ids[0]
        with uploads(port, 4), RawClient(port) as another:
            another.send(UPLOAD)

            def named() -> list[dict[str, Any]]:
                return [one for one in findings(found, backend) if one["finding"].startswith("5 slow uploads")]

            (one,) = eventually(named, "they are named")
            assert re.fullmatch(
                rf"5 slow uploads hold it, the oldest for \d+ s; 4 of them from {re.escape(STRANGER)}", one["finding"]
            )
            (limit, _), command = re.findall(r"`(timeouts\.request) = (\d+)`", one["advice"])[0], "reload"
            assert f"`lbflask {command}`" in one["advice"]
            page = get(found.balancer.admin_port, "/metrics").body.decode()
            assert f'lbflask_backend_slow_uploads{{backend="{backend}",pool="default"}} 5.0' in page
        file.write_text(f"{limit} = 2\n{text}")
        found.command(command, instance=0)
        with uploads(port, 4) as clients:
            assert {client.answer().status for client in clients} == {408}
            eventually(lambda: not findings(found, backend), "none holds it any more")
