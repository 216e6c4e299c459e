"""Clients with most of the requests, and with slow uploads that hold backends, are named with figures and a remedy."""

from __future__ import annotations

from typing import Any

import pytest

from lbflask.core.answers import AnswerKey, Answers
from lbflask.core.client_shares import ClientCounts
from lbflask.core.fleet_stats import BackendCounts, WorkerIdentity, WorkerReport, bucket_of
from lbflask.core.slow_uploads import Uploads
from lbflask.store.ports import Beat
from tests.control.servers import Counter


def beat(counter: Counter, pid: int, clients: ClientCounts | None) -> None:
    report = WorkerReport(WorkerIdentity("one", "host", pid), counter.clock(), 10.0, {}, clients=clients)
    counter.facts.beat("default", f"host:{pid}:a", Beat({}, report=report), read=False)


def findings(counter: Counter) -> list[dict[str, Any]]:
    return [one for one in counter.get("/doctor")["findings"] if one["check"] == "clients"]


def test_one_client_with_most_of_the_requests_of_all_workers(counter: Counter) -> None:
    beat(counter, 7, ClientCounts(10.0, 2500, {"10.1.2.3": 2000, "10.0.0.9": 100}))
    beat(counter, 8, ClientCounts(10.0, 2500, {"10.1.2.3": 2150, "10.0.0.9": 20}))
    (found,) = findings(counter)
    assert found["level"] == "warning"
    assert found["finding"] == ("10.1.2.3 makes 83% of the requests (415/s of 500/s), the next client at most 12.0/s")
    assert "`rate_limits.each.rate = 18` and `rate_limits.each.everywhere = true`" in found["advice"]
    assert "`trusted_proxies`" in found["advice"]
    state = counter.get("/state")
    assert state["fleet"]["clients"] == {
        "per_second": 500.0,
        "busiest": [{"client": "10.1.2.3", "per_second": 415.0}, {"client": "10.0.0.9", "per_second": 12.0}],
    }
    assert [one["check"] for one in state["findings"]].count("clients") == 1


def test_a_limit_is_never_advised_that_stops_one_who_opens_a_page(counter: Counter) -> None:
    beat(counter, 7, ClientCounts(10.0, 2500, {"10.1.2.3": 2000}))
    (found,) = findings(counter)
    assert found["finding"].endswith("the next client at most 0.0/s")
    assert "`rate_limits.each.rate = 5`" in found["advice"]


@pytest.mark.parametrize(
    "clients",
    [None, ClientCounts(), ClientCounts(10.0, 5000, {"10.1.2.3": 5000}), ClientCounts(10.0, 90, {"10.1.2.3": 80})],
    ids=["an earlier version", "no requests", "the only client", "few requests"],
)
def test_nothing_else_is_found(counter: Counter, clients: ClientCounts | None) -> None:
    beat(counter, 7, clients)
    assert findings(counter) == []


def test_the_state_shows_the_five_busiest(counter: Counter) -> None:
    counts = {f"10.0.0.{number}": 10 * number for number in range(1, 10)}
    beat(counter, 7, ClientCounts(10.0, 450, counts))
    busiest = counter.get("/state")["fleet"]["clients"]["busiest"]
    assert [one["per_second"] for one in busiest] == [9.0, 8.0, 7.0, 6.0, 5.0]


@pytest.mark.parametrize(
    ("refused", "level"),
    [
        (ClientCounts(5.0, 500, {"10.1.2.3": 470, "10.0.0.9": 30}), "good"),
        (ClientCounts(5.0, 500, {"10.1.2.3": 440, "10.0.0.9": 60}), "bad"),
        (ClientCounts(5.0, 500, {}), "bad"),
        (None, "bad"),
    ],
    ids=["the limit works", "others are refused too", "many are refused", "an earlier version"],
)
def test_a_limit_that_holds_back_the_one_that_asks_most_is_good(
    counter: Counter, refused: ClientCounts | None, level: str
) -> None:
    clients = ClientCounts(5.0, 100, {"10.0.0.9": 60, "10.1.2.3": 40})
    answers = Answers(10.0, {AnswerKey("2xx", "backend"): 200, AnswerKey("429", "rate_limit", "each"): 1000})
    report = WorkerReport(
        WorkerIdentity("one", "host", 7), counter.clock(), 10.0, {}, answers=answers, clients=clients,
        refused_clients=refused,
    )  # fmt: skip
    counter.facts.beat("default", "host:7:a", Beat({}, report=report), read=False)
    (found,) = (one for one in counter.get("/doctor")["findings"] if one["check"] == "answers")
    assert found["level"] == level
    assert found["finding"].endswith("nearly all go to 10.1.2.3, which asks most") is (level == "good")


def upload(counter: Counter, pid: int, in_flight: int, uploads: Uploads) -> None:
    identity = WorkerIdentity("one", "host", pid)
    served = {"10.0.0.1:80": BackendCounts(100, 0, {bucket_of(0.02): 100})}
    report = WorkerReport(identity, counter.clock(), 10.0, served, uploads={"two": uploads})
    counter.facts.beat("default", f"host:{pid}:a", Beat({"two": in_flight}, report=report), read=False)


def backend_findings(counter: Counter) -> list[dict[str, Any]]:
    return [one for one in counter.get("/doctor")["findings"] if one["check"] == "backend two"]


def test_slow_uploads_that_hold_a_backend_are_named_with_their_client(counter: Counter) -> None:
    upload(counter, 7, 8, Uploads(8, 7, 38.4, {"10.1.2.3": 6, "10.0.0.9": 1}))
    upload(counter, 8, 6, Uploads(6, 5, 12.0, {"10.1.2.3": 4}))
    (found,) = backend_findings(counter)
    text = "12 slow uploads hold it, the oldest for 38 s; 10 of them from 10.1.2.3"
    assert (found["level"], found["finding"]) == ("warning", text)
    assert "`timeouts.request = 60`" in found["advice"]
    view = counter.get("/pools/default/backends/two")
    assert view["reason"] == f"connected; {text}"
    assert view["uploads"] == {"receiving": 14, "slow": 12, "oldest": 38.4, "client": "10.1.2.3", "of_client": 10}


def test_uploads_of_clients_that_are_not_known_are_named_too(counter: Counter) -> None:
    upload(counter, 7, 4, Uploads(4, 4, 9.0, {}))
    (found,) = backend_findings(counter)
    assert found["finding"] == "4 slow uploads hold it, the oldest for 9 s"


def test_few_slow_uploads_are_shown_and_no_finding(counter: Counter) -> None:
    upload(counter, 7, 2, Uploads(2, 2, 60.0, {"10.1.2.3": 2}))
    assert backend_findings(counter) == []
    view = counter.get("/pools/default/backends/two")
    assert (view["reason"], view["uploads"]["slow"]) == ("connected", 2)
    assert counter.get("/pools/default/backends/10.0.0.1:80")["uploads"] is None


def test_a_backend_does_not_hang_whose_requests_are_still_on_their_way(counter: Counter) -> None:
    upload(counter, 7, 6, Uploads(4, 0, 0.0, {}))
    assert backend_findings(counter) == []
