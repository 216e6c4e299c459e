"""What is read: logs of backends and of workers, tables of the kernel, the store's counts, and the command line."""

from __future__ import annotations

import pytest

from chaos.__main__ import decides
from chaos.backend import Served, read_log
from chaos.backends import Ejected, attempts_after
from chaos.cost import sent
from chaos.observer import connections, sample
from chaos.workers import counted
from devtools.report import Check
from devtools.traffic import AccessLogLine, access_log

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 111 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 222 1 0 20 4 30 10 -1
"""
LINE = (
    '2026-01-02T03:04:05.500Z 127.0.0.1 "GET / HTTP/1.1" 200 6 backend=b upstream=0.3ms total=250.0ms attempts=2 '
    "id=x-1 tried=a:1:connect,b:ok\n"
)


def test_a_line_of_a_backends_log_that_is_being_written_is_left_out() -> None:
    assert read_log("1.5 / 200\n2.5 /check 503\n3.5 /sl") == [Served(1.5, "/", 200), Served(2.5, "/check", 503)]


def test_connections_are_ports_and_inodes() -> None:
    assert list(connections(TABLE)) == [(8080, 0, 111), (8080, 50_000, 222)]


def test_a_request_began_when_its_end_less_its_time_was() -> None:
    (line,) = access_log(LINE)
    assert line.tried == ("a:1", "b")
    assert line.moment - line.began == pytest.approx(0.25)


def test_attempts_count_from_when_an_ejection_has_to_apply() -> None:
    def tried(began: float, *backends: str) -> AccessLogLine:
        return AccessLogLine(began, began, "/", 200, backends)

    log = [tried(9.9, "a"), tried(10.04, "a", "b"), tried(10.06, "a", "b"), tried(11, "b")]
    assert attempts_after(log, Ejected("a", 10.0)) == 1


def test_a_script_is_one_trip_and_what_it_does_is_none() -> None:
    stats = {"cmdstat_evalsha": {"calls": 3}, "cmdstat_hset": {"calls": 9}, "cmdstat_incrby": {"calls": 4}}
    assert sent(stats) == 7


def test_a_health_document_becomes_a_sample() -> None:
    states = {"a": {"health": "up", "ejected": True}, "b": {"health": "unknown", "ejected": False}}
    document = {
        "status": "ok",
        "store": "connected",
        "pools": {"default": {"checker_silent_for": 0.5, "states": states}},
    }
    seen = sample(lambda: 1.0, 80, 7, document)
    assert (seen.worker, seen.unknown, seen.ejected) == ((80, 7), 1, ("a",))


def test_a_worker_is_known_by_its_pid_between_host_and_chance() -> None:
    class Hash:
        def hkeys(self, _: str) -> list[str]:
            return ["host:12:ab"]

    assert counted(Hash(), 12)  # type: ignore[arg-type]
    assert not counted(Hash(), 1)  # type: ignore[arg-type]


def test_a_short_run_is_not_decided_by_milliseconds() -> None:
    assert not decides(Check("p99", 9, 1, "ms"), quick=True)
    assert decides(Check("p99", 9, 1, "ms"), quick=False)
    assert decides(Check("failed", 1, 0), quick=True)
