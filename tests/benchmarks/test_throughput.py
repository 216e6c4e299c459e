from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.harness import processor_seconds
from benchmarks.throughput import Result, compare, judge, parse


def test_a_run_of_wrk_is_read_in_requests_a_second_and_milliseconds() -> None:
    result = parse("Running 1s test\nRESULT 5000 2000000 1500 9000 3\n")
    assert (result.requests, result.p50, result.p99, result.errors) == (2500.0, 1.5, 9.0, 3)


def test_a_run_without_output_is_no_measurement() -> None:
    with pytest.raises(RuntimeError, match="unable to connect"):
        parse("unable to connect")


def test_proxies_are_compared_round_by_round() -> None:
    # The machine was slow in the first round, for both.
    results = {
        "lbflask, compiled": {32: [Result(200, 1, 2, 0, 50)] * 3},
        "lbflask": {32: [Result(100, 1, 2, 0, 90), Result(200, 1, 2, 0, 100), Result(200, 3, 4, 0, 110)]},
        "other": {32: [Result(50, 2, 4, 0, 80), Result(100, 2, 4, 0, 80), Result(100, 2, 4, 0, 80)]},
    }
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in compare(results, [32]).splitlines()]
    assert lines[0][0] == "32 connections"
    assert lines[0][-2:] == ["lbflask, compiled is", "lbflask is"]
    assert lines[2] == ["lbflask, compiled", "200", "1.00", "2.00", "50", "", "1.00 x"]
    assert lines[3] == ["lbflask", "200", "1.00", "2.00", "100", "1.00 x", ""]
    assert lines[4] == ["other", "100", "2.00", "4.00", "80", "2.00 x", "2.00 x"]


def test_each_number_of_connections_has_a_table() -> None:
    shown = compare({"lbflask": {count: [Result(1, 1, 1, 0)] for count in (1, 128)}}, [1, 128])
    assert [part.split("|")[1].strip() for part in shown.split("\n\n")] == ["1 connection", "128 connections"]


def rounds(rate: float, p50: float, p99: float, cpu: float) -> dict[int, list[Result]]:
    return {count: [Result(rate, p50, p99, 0, cpu)] * 3 for count in (1, 32, 128)}


def test_the_targets_are_those_for_whom_there_is_a_rival() -> None:
    found = {"lbflask": rounds(1000, 1.0, 9.0, 90.0), "Go ReverseProxy": rounds(900, 0.5, 10.0, 80.0)}
    checks = {check.what: check.met for check in judge(found)}
    assert checks == {
        "lbflask: requests/s at 32 connections, against Go ReverseProxy": True,
        "lbflask: requests/s at 128 connections, against Go ReverseProxy": True,
        "lbflask: p99 at 32 connections, against Go ReverseProxy": True,
        "failed requests of lbflask": True,
    }


def test_the_compiled_build_has_targets_of_its_own() -> None:
    found = {
        "lbflask, compiled": rounds(1500, 1.0, 13.0, 44.0),
        "lbflask before": rounds(750, 1.0, 25.0, 100.0),
        "Go ReverseProxy, 512 idle": rounds(1000, 0.9, 10.0, 80.0),
        "nginx": rounds(3001, 0.5, 5.0, 13.0),
    }
    checks = {check.what: check.met for check in judge(found)}
    assert [what for what, met in checks.items() if not met] == [
        "lbflask, compiled: requests/s at 32 connections, against nginx",
        "lbflask, compiled: p99 at 128 connections, against lbflask before",
        "lbflask, compiled: p50 at 1 connections, against Go ReverseProxy, 512 idle",
    ]
    assert sum(checks.values()) == 6


def test_failed_requests_of_any_build_are_a_miss() -> None:
    found = {"lbflask": rounds(1, 1, 1, 1), "lbflask, compiled": {32: [Result(1, 1, 1, 2, 1)]}}
    assert [check.measured for check in judge(found)] == [2]


def test_the_processor_time_is_that_of_all_descendants_and_threads() -> None:
    """Also of a child that has ended."""
    code = (
        "import os, sys, threading, time\n"
        "def burn(seconds):\n"
        "    while time.thread_time() < seconds: pass\n"
        "thread = threading.Thread(target=burn, args=[0.1]); thread.start(); thread.join()\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    burn(0.3); os._exit(0)\n"
        "if sys.argv[1] == 'ended': os.waitpid(pid, 0)\n"
        "else: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)\n"
        "print('ready', flush=True); sys.stdin.read()\n"
    )
    for end in ("ended", "zombie"):
        with subprocess.Popen(
            [sys.executable, "-c", code, end], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            before = processor_seconds([process.pid])
            assert 0.38 <= before < 10, "0.4 s in all, in ticks of 10 ms"
            assert processor_seconds([process.pid, process.pid]) >= 2 * before
            process.communicate()
            assert processor_seconds([process.pid]) == 0.0
