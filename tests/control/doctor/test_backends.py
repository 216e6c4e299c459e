from __future__ import annotations

import re
from dataclasses import replace

import pytest

from lbflask.control.doctor.backends import ConnectFailure
from lbflask.control.operations import Running
from lbflask.core.failure_causes import FailureCause
from tests.control.servers import DOWN, UP, Counter


@pytest.fixture
def counter() -> Counter:
    return Counter()


def findings(counter: Counter, backend: str) -> list[dict[str, str]]:
    found = counter.get("/doctor")["findings"]
    return [one for one in found if one["check"] == f"backend {backend}"]


def known_for(counter: Counter, seconds: float) -> None:
    since = {
        pool: {id_: at - seconds for id_, at in known.items()} for pool, known in counter.running.known_since.items()
    }
    counter.running = replace(counter.running, known_since=since)


def test_a_backend_that_was_configured_a_moment_ago_is_to_be_waited_for(counter: Counter) -> None:
    counter.check(**{"10.0.0.1_80": UP})
    (finding,) = findings(counter, "two")
    assert finding["level"] == "warning"
    assert re.match("checking for [0-4] s: its first check has not completed", finding["finding"])
    assert finding["advice"] == "wait at most 5 s"


def test_one_that_stays_checking_is_told_with_how_long_and_why(counter: Counter) -> None:
    counter.check(**{"10.0.0.1_80": UP})
    known_for(counter, 42)
    (finding,) = findings(counter, "two")
    stated = re.match(
        "checking for ([0-9]+) s: the checker checker:1:a leads and has reported no check", finding["finding"]
    )
    assert stated
    assert int(stated[1]) >= 42
    assert "another configuration" in finding["advice"]
    assert findings(counter, "10.0.0.1:80") == []


def test_one_that_an_operator_added_is_told_by_the_event(counter: Counter) -> None:
    counter.check(**{"10.0.0.1_80": UP, "two": UP})
    counter.act("POST", "/pools/default/backends", json={"url": "http://10.0.0.3:80", "name": "three"})
    counter.clock.advance(60)
    counter.check(**{"10.0.0.1_80": UP, "two": UP})
    (finding,) = findings(counter, "three")
    assert finding["finding"].startswith("checking for 60 s: ")


def test_a_reload_does_not_make_it_younger(counter: Counter) -> None:
    known_for(counter, 42)
    known = Running.from_config(counter.config, counter.running).known_since
    assert known == counter.running.known_since


def test_without_a_checker_only_that_is_said_and_not_that_each_backend_is_unknown(counter: Counter) -> None:
    assert findings(counter, "two") == findings(counter, "10.0.0.1:80") == []
    (finding,) = (one for one in counter.get("/doctor")["findings"] if one["check"] == "checker of default")
    assert finding["advice"].startswith("start `python -m lbflask.healthcheck`")


def test_a_backend_that_is_down_for_the_same_cause_here_is_one_finding(counter: Counter) -> None:
    counter.check(**{"10.0.0.1_80": UP, "two": DOWN})
    counter.unreachable["two"] = ConnectFailure("connection refused", FailureCause.REFUSED)
    (finding,) = findings(counter, "two")
    assert finding["finding"] == "down: connection refused; the same from this instance"
    assert finding["advice"].startswith("nothing listens at 10.0.0.2:80")
    counter.unreachable["two"] = ConnectFailure("no route to host", FailureCause.NO_ROUTE)
    (finding,) = findings(counter, "two")
    assert finding["finding"] == "down: connection refused; from this instance: no route to host"
    assert "`ip route get 10.0.0.2`" in finding["advice"]
    del counter.unreachable["two"]
    (finding,) = findings(counter, "two")
    assert finding["finding"] == "down: connection refused; this instance can connect"


def test_one_that_only_this_instance_cannot_reach_is_bad(counter: Counter) -> None:
    counter.check(**{"10.0.0.1_80": UP, "two": UP})
    counter.unreachable["two"] = ConnectFailure("no connection within 2 s", FailureCause.TIMED_OUT)
    (finding,) = findings(counter, "two")
    assert (finding["level"], finding["finding"]) == (
        "bad", "no connection within 2 s, from this instance; by checks and requests it is up",
    )  # fmt: skip


def test_of_one_that_is_off_only_that_is_said(counter: Counter) -> None:
    counter.check(**{"10.0.0.1_80": UP, "two": DOWN})
    counter.unreachable["two"] = ConnectFailure("connection refused", FailureCause.REFUSED)
    counter.act("POST", "/pools/default/backends/two/off")
    (finding,) = findings(counter, "two")
    assert finding["finding"].startswith("switched off by ")


def test_a_shortage_of_this_process_is_one_finding_and_blames_no_backend(counter: Counter) -> None:
    counter.check(**{"10.0.0.1_80": UP, "two": UP})
    short = ConnectFailure("this process is short of descriptors: too many open files", FailureCause.SHORTAGE)
    counter.unreachable = {"10.0.0.1:80": short, "two": short}
    assert findings(counter, "two") == findings(counter, "10.0.0.1:80") == []
    (finding,) = (one for one in counter.get("/doctor")["findings"] if one["check"] == "this instance")
    assert "2 connects to backends failed" in finding["finding"]
    assert "LimitNOFILE=" in finding["advice"]


def test_a_pool_that_operators_have_emptied_names_the_command_that_helps(counter: Counter) -> None:
    counter.check(**{"10.0.0.1_80": UP, "two": UP})
    for backend in ("10.0.0.1:80", "two"):
        counter.act("POST", f"/pools/default/backends/{backend}/off", json={"force": True})
    (finding,) = (one for one in counter.get("/doctor")["findings"] if "no backend can serve" in one["finding"])
    assert finding["advice"] == "`lbflask enable 10.0.0.1:80`"


def test_a_pool_that_fails_open_is_named_with_its_number() -> None:
    counter = Counter(when_all_down="fail_open")
    counter.check(**{"10.0.0.1_80": DOWN, "two": DOWN})
    first = counter.get("/state")["findings"][0]
    assert (first["check"], first["level"]) == ("pool default", "bad")
    assert first["finding"].startswith("no backend is well: 2 of 2 get requests all the same (fail open)")


def test_what_operators_have_done_comes_after_what_is_broken(counter: Counter) -> None:
    counter.check(**{"10.0.0.1_80": UP, "two": UP})
    counter.act("POST", "/pools/default/backends/10.0.0.1:80/drain")
    counter.check(two=DOWN)
    named = [one["check"] for one in counter.get("/state")["findings"] if one["level"] == "warning"]
    assert named == ["backend two", "backend 10.0.0.1:80"]
