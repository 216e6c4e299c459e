from __future__ import annotations

import pytest

from benchmarks.throughput import Result, compare, judge, parse


def test_a_run_of_wrk_is_read_in_requests_a_second_and_milliseconds() -> None:
    assert parse("Running 1s test\nRESULT 5000 2000000 1500 9000 3\n") == Result(2500.0, 1.5, 9.0, 3)


def test_a_run_without_output_is_no_measurement() -> None:
    with pytest.raises(RuntimeError, match="unable to connect"):
        parse("unable to connect")


def test_proxies_are_compared_round_by_round() -> None:
    # The machine was slow in the first round, for both.
    results = {
        "lbflask": {32: [Result(100, 1, 2, 0), Result(200, 1, 2, 0), Result(200, 3, 4, 0)]},
        "other": {32: [Result(50, 2, 4, 0), Result(100, 2, 4, 0), Result(100, 2, 4, 0)]},
    }
    lines = compare(results, [32]).splitlines()
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == ["lbflask", "200", "", "1.00", "2.00"]
    assert [cell.strip() for cell in lines[3].strip("|").split("|")] == ["other", "100", "2.00 x", "2.00", "4.00"]


def test_the_targets_are_those_for_whom_there_is_a_rival() -> None:
    def rounds(rate: float, p50: float, p99: float) -> dict[int, list[Result]]:
        return {count: [Result(rate, p50, p99, 0)] * 3 for count in (1, 32, 128)}

    found = {"lbflask": rounds(1000, 1.0, 9.0), "Go ReverseProxy": rounds(900, 0.5, 10.0)}
    checks = {check.what: check.met for check in judge(found)}
    assert checks == {
        "requests/s at 32 connections, against Go ReverseProxy": True,
        "requests/s at 128 connections, against Go ReverseProxy": True,
        "p99 at 32 connections, against Go ReverseProxy": True,
        "p50 of one connection, against Go ReverseProxy": False,
        "failed requests of lbflask": True,
    }
