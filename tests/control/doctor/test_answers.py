"""Errors that clients get are named with their cause, their number and a remedy."""

from __future__ import annotations

import re

import pytest

from lbflask.core.answers import REGULAR, AnswerCause, AnswerKey, Answers
from lbflask.core.fleet_stats import WorkerIdentity, WorkerReport
from lbflask.store.ports import Beat
from tests.control.servers import DOWN, Counter

OK = AnswerKey("2xx", "backend")


def findings(counter: Counter, counts: dict[AnswerKey, int]) -> list[dict[str, str]]:
    """What the doctor finds when a worker reports these answers of ten seconds."""
    identity = WorkerIdentity("one", "host", 7)
    report = WorkerReport(identity, counter.clock(), 10.0, {}, answers=Answers(10.0, counts))
    counter.facts.beat("default", "host:7:a", Beat({}, report=report), read=False)
    return [one for one in counter.get("/doctor")["findings"] if one["check"] == "answers"]


def test_a_limit_that_refuses_a_third_is_named_with_its_figures(counter: Counter) -> None:
    (found,) = findings(counter, {OK: 100, AnswerKey("429", "rate_limit", "each"): 50})
    assert found["level"] == "warning"
    assert found["finding"] == "clients get 429, rate limit each: 5.0/s, 33% of the answers"
    assert "`rate_limits.each.rate = 10`" in found["advice"], "what was refused, twice"


def test_the_advice_has_a_rate_that_is_enough() -> None:
    counter = Counter(rate_limits={"each": {"rate": "60/min", "everywhere": True}})
    (found,) = findings(counter, {OK: 10, AnswerKey("429", "rate_limit", "each"): 300})
    assert "`rate_limits.each.rate = 61` in the configuration and `lbflask reload`" in found["advice"]


def test_errors_of_clients_by_the_judgement_of_backends_are_named_when_they_are_a_third_of_the_answers(
    counter: Counter,
) -> None:
    missing, limited = AnswerKey("4xx", "backend"), AnswerKey("429", "rate_limit", "each")
    assert findings(counter, {OK: 75, missing: 25}) == []
    (found,) = findings(counter, {OK: 30, missing: 70, limited: 3})
    assert (found["level"], found["finding"]) == ("bad", "clients get 4xx, backend: 7.0/s, 68% of the answers")
    assert "`lbflask backends`" in found["advice"]


def test_half_of_the_answers_is_bad_and_the_most_frequent_comes_first(counter: Counter) -> None:
    full, failed = AnswerKey("503", "queue_full", "default"), AnswerKey("5xx", "backend")
    first, second = findings(counter, {OK: 30, failed: 20, full: 100})
    assert (first["level"], second["level"]) == ("bad", "warning")
    assert first["finding"].startswith("clients get 503, queue full default: 10.0/s")
    assert second["finding"].startswith("clients get 5xx, backend: 2.0/s")
    assert "of pool default" in first["advice"]


@pytest.mark.parametrize(
    "counts",
    [
        {},
        {OK: 1000},
        {OK: 1000, AnswerKey("429", "rate_limit", "each"): 20},
        {AnswerKey("502", "connection_failed", "default"): 2},
        {OK: 10, AnswerKey("503", "no_backend", "default"): 500},
        {OK: 10, AnswerKey("499", "of a later version"): 500},
    ],
    ids=["none", "no error", "a small share", "few", "named by the pool", "a later version"],
)
def test_nothing_else_is_named(counter: Counter, counts: dict[AnswerKey, int]) -> None:
    assert findings(counter, counts) == []


@pytest.mark.parametrize("cause", sorted({*AnswerCause} - REGULAR))
def test_advice_is_complete(counter: Counter, cause: AnswerCause) -> None:
    for found in findings(counter, {AnswerKey("500", cause, "x"): 100}):
        assert not re.search(r"[{}]", found["advice"])


def test_the_state_has_them_too(counter: Counter) -> None:
    findings(counter, {AnswerKey("429", "rate_limit", "each"): 50})
    assert any(one["check"] == "answers" for one in counter.get("/state")["findings"])


def test_they_come_after_the_backends_that_are_their_cause(counter: Counter) -> None:
    counter.check(**{"10.0.0.1_80": DOWN, "two": DOWN})
    findings(counter, {AnswerKey("502", "connection_failed", "default"): 500})
    bad = [one for one in counter.get("/state")["findings"] if one["level"] == "bad"]
    assert [one["check"] for one in bad] == ["pool default", "answers"]
    assert bad[0]["finding"] == "no backend can serve: clients get 503"


def test_few_answers_prove_something_if_most_are_errors_of_servers(counter: Counter) -> None:
    failed, missing = AnswerKey("5xx", "backend"), AnswerKey("4xx", "backend")
    (found,) = findings(counter, {failed: 3})
    assert (found["level"], found["finding"]) == ("bad", "clients get 5xx, backend: 0.3/s, 100% of the answers")
    assert findings(counter, {failed: 2}) == []
    assert findings(counter, {OK: 4, failed: 3}) == []
    assert findings(counter, {missing: 4}) == []
