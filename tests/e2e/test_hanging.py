"""A backend that is frozen: its requests are shown to wait, and move when checks without an answer find it down."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from devtools.cluster import Cluster
from devtools.servers import HttpResponse, get
from devtools.wait import PATIENCE, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.early]

CHECKS = {"health__kind": "http", "health__interval": 1, "health__timeout": 1, "health__fall": 2}


class Asking(threading.Thread):
    """One request in the background."""

    def __init__(self, port: int, method: str) -> None:
        super().__init__()
        self.asked = port, method
        self.response: HttpResponse | None = None
        self.start()

    def run(self) -> None:
        port, method = self.asked
        self.response = get(port, "/", method)


def frozen_cluster(log: Path, **settings: Any) -> Cluster:
    """One worker, two backends, of which requests go to the first as long as it is up."""
    return Cluster(1, 1, backends=2, checkers=1, strategy="first", access_log=log, access_log_format="json", **settings)


def reasons(log: Path) -> list[str]:
    """Why attempts failed, by the access log."""
    attempts = [json.loads(line)["attempts"] for line in log.read_text().splitlines()]
    return [one["reason"] for of_request in attempts for one in of_request if "reason" in one]


def test_requests_at_a_frozen_backend_move_when_it_is_found_down(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with frozen_cluster(log, timeouts__first_byte=PATIENCE, **CHECKS) as cluster:
        port, frozen = cluster.balancer.port, cluster.ids[0]
        eventually(lambda: cluster.all_agree(lambda states: states[frozen]["health"] == "up"), "it is up")
        cluster.demos[int(frozen.rpartition(":")[2])].signal(signal.SIGSTOP)
        gets, post = [Asking(port, "GET") for _ in range(8)], Asking(port, "POST")
        eventually(lambda: cluster.all_agree(lambda states: states[frozen]["health"] == "down"), "it is found down")
        for asking in [*gets, post]:
            asking.join(PATIENCE)
        answers = [asking.response for asking in gets]
        assert {answer and answer.status for answer in answers} == {200}
        assert post.response is not None
        assert post.response.status == 502
        cluster.demos[int(frozen.rpartition(":")[2])].signal(signal.SIGCONT)
        found = eventually(lambda: [one for one in reasons(log) if "found down by its checks" in one], "it is logged")
        assert all(reason.startswith("silent for ") for reason in found)


@pytest.mark.thorough
def test_a_silent_backend_is_named_by_doctor_and_by_the_log_of_a_client_that_leaves(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with frozen_cluster(log, health__kind="tcp") as cluster:
        frozen = cluster.ids[0]
        eventually(lambda: cluster.all_agree(lambda states: states[frozen]["health"] == "up"), "it is up")
        cluster.demos[int(frozen.rpartition(":")[2])].signal(signal.SIGSTOP)
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", cluster.balancer.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

            def found() -> list[str]:
                findings = json.loads(cluster.api("/doctor").body)["findings"]
                return [one["finding"] for one in findings if "wait" in one["finding"]]

            (finding,) = eventually(found, "doctor names the wait")
            assert finding.startswith("1 request waits for a first byte, for ")
            assert "its checks pass; it has answered no request" in finding
            assert time.monotonic() - began > 5

        (reason,) = eventually(lambda: reasons(log), "the request is logged")
        assert reason.startswith(f"the client hung up; {frozen} had sent nothing for ")
        cluster.demos[int(frozen.rpartition(":")[2])].signal(signal.SIGCONT)
