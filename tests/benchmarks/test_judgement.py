"""What the benchmarks make of what they saw."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice

import pytest
import redis

from benchmarks import (
    bans,
    bodies,
    counters,
    flaky_backends,
    footprint,
    pool_size,
    sessions,
    shares,
    slow_clients,
    streams,
    tls,
)
from benchmarks.__main__ import BENCHMARKS, command
from benchmarks.backends.flaky import ENDS, Dice
from benchmarks.flaky_backends import Journals, Outcome, method_of, request
from benchmarks.load import Load
from benchmarks.slow_clients import Fates, Rounds
from benchmarks.start import Start, typical
from benchmarks.throughput import Result
from devtools.report import Check
from lbflask.core.sticky_cookie import Affinity


def missed(checks: list[Check]) -> list[str]:
    return [check.what for check in checks if not check.met]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_short_run_leaves_the_readme_alone(name: str) -> None:
    assert command(name, quick=True)[1:] == ["-m", f"benchmarks.{name}", "--quick"]


def test_what_is_kept_of_a_rate_is_compared_round_by_round() -> None:
    """A machine that gets slower from round to round takes nothing from what is kept."""
    few, many = ([Result(rate, 0.0, 0.0, 0) for rate in rates] for rates in ((1000, 500, 100), (800, 350, 90)))
    assert pool_size.Rounds(few, many).kept == 0.8


def test_each_strategy_keeps_its_rate_and_no_request_fails() -> None:
    good, bad = Result(900, 0.0, 0.0, 0, 50.0), Result(899, 0.0, 0.0, 1, 60.0)
    base = [Result(1000, 0.0, 0.0, 0, 40.0)]
    found = {
        "lbflask, first": pool_size.Rounds(base, [good]),
        "lbflask, compiled, random_two": pool_size.Rounds(base, [good]),
        "nginx": pool_size.Rounds(base, [Result(1, 0.0, 0.0, 7, 1000.0)]),
    }
    assert missed(pool_size.judge(found)) == []
    assert found["lbflask, first"].row() == ["1,000", "900", "0.90", "40.0", "50.0", "1.25"]
    found["lbflask, first"] = pool_size.Rounds(base, [bad])
    assert missed(pool_size.judge(found)) == ["lbflask, first: kept of the rate", "failed requests of lbflask"]


def test_large_bodies_are_compared_with_nginx_in_the_same_round() -> None:
    rates = {"lbflask": {"down, length": [50.0, 500.0]}, "nginx": {"down, length": [100.0, 1000.0]}}
    assert missed(bodies.judge(rates, {"lbflask": 16 << 20})) == []
    rates["nginx"]["down, length"] = [101.0, 1010.0]
    assert len(missed(bodies.judge(rates, {"lbflask": (16 << 20) + 1}))) == 2


def fates(**change: object) -> sessions.Fates:
    """Eight sessions at four backends, of which number 1 is killed; what is wrong is put in."""
    made = [
        sessions.Session("", [home] * 5 if home != 1 else [1, 1, 2, 2, 2], 1 + (home == 1)) for home in (1, 2, 3, 4) * 2
    ]
    forged = [sessions.Session("x", [home], 1) for home in (1, 2, 3, 4) * 3]
    told = sessions.Fates(made, 1, forged=forged)
    for key, value in change.items():
        setattr(told, key, value)
    return told


def test_sessions_that_stay_and_cookies_that_are_not_believed_miss_nothing() -> None:
    assert missed(sessions.judge(fates())) == []


def test_each_way_to_lose_a_session_is_a_miss() -> None:
    assert missed(sessions.judge(fates(failed=["502"], moved_before=1))) == [
        "failed requests",
        "moves while all was well",
    ]
    roaming = fates()
    roaming.sessions[1].served[-1] = 3
    roaming.sessions[0].served[-1] = 1  # back again
    assert missed(sessions.judge(roaming)) == [
        "moves of sessions whose backend lives",
        "of these moved other than once",
        "cookies set other than at the first request and a move",
    ]


def test_a_forged_cookie_that_steers_is_a_miss() -> None:
    accepted = fates()
    accepted.forged[0].cookies = 0
    assert missed(sessions.judge(accepted)) == ["forged cookies that were accepted"]
    steered = fates(forged=[sessions.Session("x", [4], 1) for _ in range(12)])
    assert missed(sessions.judge(steered)) == ["requests of forged cookies to the backend they name"]


def test_forged_cookies_are_like_genuine_ones_and_none_is() -> None:
    real = Affinity("default", ["s" * 16])
    real.know(["a"])
    genuine = [real.cookie("a", moment) for moment in range(3)]
    made = list(islice(sessions.forgeries(genuine, random.Random(1)), 200))
    assert {real.home([cookie], 2) for cookie in made} == {""}
    assert len({*made}) > 100
    assert sum(cookie.split(".")[0] == genuine[0].split(".")[0] for cookie in made) > 100


def test_shares_are_judged_by_the_farthest_and_a_slow_backend_by_what_it_would_get_in_turn() -> None:
    alone = {32: [320, 320, 320, 40, 0], 16: [300, 300, 300, 100, 0]}
    fair = {32: [320, 320, 320, 40, 0], 16: [310, 310, 310, 70, 0]}  # 250 of 1000 would be an equal share
    assert shares.spared(fair[32]) == 0.16
    assert missed(shares.judge([5002, 2999, 1999, 0], fair, alone)) == []
    assert missed(shares.judge([5003, 2999, 1998, 0], fair, alone)) == [
        "requests by which the weights 5:3:2 are missed"
    ]
    greedy = {32: [300, 300, 300, 100, 0], 16: [295, 295, 295, 115, 1]}
    assert missed(shares.judge([5, 3, 2, 0], greedy, alone)) == [
        "what a slow backend gets at 32 connections, of an equal share",
        "the same at 16, against processes that count only their own requests",
        "failed requests",
    ]


def test_trips_to_the_store_are_judged_by_the_responses_to_which_they_belong() -> None:
    found = {"due at a steady rate": 20_000, "answered at 1,000/s a worker": 20_000}
    found |= {"round trips to the store meanwhile": 100, "answered": 10, "counted": 10}
    found |= {"answered, one killed in the midst": 5, "counted, one killed in the midst": 5}
    assert missed(counters.judge(found, 10)) == []
    found |= {"due at a steady rate": 21_100, "round trips to the store meanwhile": 101, "counted": 9}
    assert missed(counters.judge(found, 10)) == [
        "answered in time at a steady rate, of those due",
        "round trips to the store for a request at 1,000/s a worker",
        "miscounted, with a worker killed at rest",
    ]


def test_a_stream_that_was_lost_is_a_miss_and_memory_counts_by_those_that_were_open() -> None:
    plan = streams.Plan(streams=2, sockets=2, hold=1, rate=1)
    held = streams.Held(events_open=2, sockets_open=2, events_alive=2, sockets_alive=1, memory=4 * 64 * 1024)
    assert held.memory_each == 64
    checks = streams.judge(plan, Load([0.001], 0), Load([0.003], 1), held)
    assert missed(checks) == [
        "WebSockets alive at the end",
        "p99 of ordinary requests, against none held",
        "failed ordinary requests",
    ]


def test_streams_that_never_opened_have_no_memory_to_be_proud_of() -> None:
    plan = streams.Plan(streams=1, sockets=0, hold=1, rate=1)
    checks = streams.judge(plan, Load([0.001], 0), Load([0.001], 0), streams.Held())
    assert missed(checks) == ["event streams alive at the end", "workers' memory for a stream"]


def test_a_slow_client_that_nothing_closed_is_a_miss() -> None:
    found = Rounds({"head": Fates(), "body": Fates()}, [Load([0.001], 0)], [Load([0.002], 0)])
    found.fates["head"].add("answered 408", 3.0)
    found.fates["head"].add("reset", 4.0)
    found.fates["body"].add(slow_clients.OPEN, 11.0)
    assert found.fates["head"].row("head") == ["head", "answered 408: 1, reset: 1", "3.0", "4.0"]
    assert missed(slow_clients.judge(found)) == [
        f"slow clients still open after {slow_clients.allowed('body'):g} s: body"
    ]


def test_ordinary_requests_are_judged_among_each_group_of_slow_clients() -> None:
    found = Rounds({slow_clients.CHURN: Fates()}, [Load([0.001] * 100, 0)], [Load([0.001] * 90 + [0.003] * 10, 1)])
    found.fates[slow_clients.CHURN].add(slow_clients.LEFT, slow_clients.STAY)
    assert missed(slow_clients.judge(found)) == [
        "p99 of ordinary requests among churn, against none",
        "failed ordinary requests among churn",
    ]


def test_journals_show_requests_begun_and_begun_twice() -> None:
    lines = ["GET 1", "POST 10", "! closed", "GET 1", "POST 20", "! closed", "POST 10\n", "POST 10", "! cut"]
    journals = Journals.read(lines)
    assert journals == Journals({"GET": 2, "POST": 4}, {"GET": 1, "POST": 1}, {"closed": 2, "cut": 1})


def test_failed_posts_are_no_miss_but_failed_gets_and_doubled_posts_are() -> None:
    outcome = Outcome(failed={"GET": {}, "POST": {"502": 3}})
    journals = Journals({}, {"GET": 5}, dict.fromkeys(ENDS, 1))
    assert missed(flaky_backends.judge(outcome, journals)) == []
    outcome.failed["GET"]["502"] = 1
    journals.twice["POST"] = 1
    assert missed(flaky_backends.judge(outcome, journals)) == ["failed GETs", "POSTs delivered twice"]


def test_backends_that_were_not_flaky_prove_nothing() -> None:
    assert missed(flaky_backends.judge(Outcome(), Journals({}, {}, {}))) == ["kinds of ends that backends made"]


def test_every_tenth_request_is_a_post_and_each_has_its_own_id() -> None:
    assert [method_of(number) for number in range(20)].count("POST") == 2
    assert request(7) == b"GET /get/7 HTTP/1.1\r\nHost: bench\r\n\r\n"
    assert request(10).startswith(b"POST /post/10 HTTP/1.1\r\n")
    assert b"\r\nContent-Length: 32\r\n\r\n" + b"10" * 16 in request(10)


def test_dice_fall_the_same_way_for_the_same_seed_and_show_every_end() -> None:
    falls = [Dice(50, seed=1).end() for _ in range(2)]
    assert falls[0] == falls[1]
    dice = Dice(50, seed=1)
    seen = [dice.end() for _ in range(1000)]
    assert set(seen) == {"", *ENDS}
    assert {Dice(0, seed=1).end() for _ in range(10)} == {""}


def test_a_footprint_is_judged_by_start_worker_connection_and_store() -> None:
    unique = footprint.UNIQUE_MIB << 20
    small = footprint.Footprint(
        3, 30 << 20, footprint.WORKER_MIB << 20, unique, 90 << 20, 40 << 20, footprint.TRIPS, 200.0, 9000, 0
    )
    idle = footprint.IdleConnections(footprint.CONNECTION_KIB * 1024, 1.0, 0)
    starts = footprint.Starts(Start(footprint.START + 3.0, 3.0, 9.0), Start(9.0, 0.0, 9.0))
    assert missed(footprint.judge(small, small, idle, starts)) == []
    large = replace(small, worker=small.worker + 1, unique=unique + 1, at_rest=footprint.TRIPS + 0.1, failed=1)
    many, late = (
        footprint.IdleConnections(idle.memory + 1, 2.0, 1),
        replace(starts, response=Start(footprint.START + 3.01, 3.0, 0.5)),
    )
    assert missed(footprint.judge(large, small, many, late)) == [
        "the first response after a start",
        "what a worker shares with no other process",
        "a worker with few backends",
        "workers' memory for an idle connection",
        "workers' descriptors for an idle connection",
        "round trips to the store a second at rest",
        "failed requests",
    ]


def test_a_typical_start_is_that_of_the_middle_without_its_waits() -> None:
    middle = Start(9.0, 8.2, 0.5)
    assert typical([Start(1.0, 0.1, 0.4), middle, Start(0.7, 0.1, 0.9)]) == middle


def test_the_store_counts_a_script_as_one_round_trip_and_the_bytes_of_one_namespace(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    meter = footprint.StoreMeter(redis_url, "metered")
    script = client.script_load("redis.call('INCRBY', KEYS[1], 1) redis.call('PEXPIRE', KEYS[1], 60000)")
    client.set("{other:default}:ticket", 1)
    assert meter.stored == 0
    before = meter.trips
    client.evalsha(script, 1, "{metered:default}:ticket")
    client.incrby("{metered:default}:ticket", 5)
    assert meter.trips - before - 1 == 2
    assert meter.stored > 0


def shakes(*rates: float, resumed: float = 1.0, errors: int = 0) -> list[tls.Measured]:
    return [tls.Measured(rate, 100.0, 100.0, resumed, errors) for rate in rates]


def test_the_compiled_build_is_held_to_the_targets_of_tls_where_it_takes_part() -> None:
    kind = "TLS 1.3, resumed"
    python = {"lbflask": shakes(400, 40), "nginx": shakes(1000, 100)}
    assert missed(tls.judge({kind: python})) == [f"{kind}, against nginx"]
    both = {kind: python | {"lbflask, compiled": shakes(500, 50)}}
    assert missed(tls.judge(both)) == []
    both[kind]["lbflask, compiled"] = shakes(500, 50, resumed=0.5, errors=1)
    assert missed(tls.judge(both)) == ["resumed, where the client offers a session", "failed handshakes of lbflask"]


def test_a_handshake_with_a_request_is_shown_and_has_no_target() -> None:
    results = {
        kind: {"lbflask": shakes(rate), "nginx": shakes(1000)}
        for kind, rate in {"TLS 1.3, resumed": 600, "TLS 1.3, full with a request": 100}.items()
    }
    assert missed(tls.judge(results)) == []
    assert "| 100 " in tls.show(results, "handshake")


def test_each_ban_holds_at_the_last_worker_in_time() -> None:
    found = {bans.BY_COMMAND: [[1.0, 50.0], [2.0, 3.0]], bans.BY_RULE: [[50.0, 51.0]]}
    delays = bans.Delays(found)
    assert missed(bans.judge(delays)) == ["by a rule, until the last worker refuses, max"]
    assert delays.row(bans.BY_COMMAND) == ["by a command", "2", "2.0", "50.0", "50.0", "3.0"]
    assert len(missed(bans.judge(bans.Delays()))) == 4
