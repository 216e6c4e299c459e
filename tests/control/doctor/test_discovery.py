from __future__ import annotations

import pytest

from lbflask.core.discovery import SourceCause, SourceFailure
from lbflask.core.model import Backend
from tests.control.servers import Counter

FOUND = (Backend("d1:80", "d1", 80, "http://d1:80"), Backend("d2:80", "d2", 80, "http://d2:80"))


def fail(counter: Counter, source: str, cause: SourceCause, found: tuple[Backend, ...] = FOUND) -> None:
    lease = counter.facts.hold_lease("default", "checker:1:a", 600)
    assert lease is not None
    counter.facts.write_discovered("default", lease.epoch, found)
    failure = SourceFailure(source, "there is no name web.test", counter.clock() - 40.0, cause)
    assert counter.facts.write_source("default", lease.epoch, failure)


def findings(counter: Counter, check: str = "discovery of default") -> list[dict[str, str]]:
    return [one for one in counter.get("/doctor")["findings"] if one["check"] == check]


def test_a_source_that_fails_is_named_until_it_answers(counter: Counter) -> None:
    fail(counter, "dns://web.test:80", SourceCause.NO_NAME)
    (finding,) = findings(counter)
    assert (finding["level"], finding["finding"]) == (
        "warning",
        "dns://web.test:80 has failed for 40 s: there is no name web.test; the 2 backends that it gave last stay",
    )
    assert finding["advice"].startswith("`dig web.test` on checker repeats the query")
    assert finding in counter.get("/state")["findings"]
    assert counter.get("/pools/default")["source_failure"]["cause"] == "no_name"
    lease = counter.facts.hold_lease("default", "checker:1:a", 600)
    assert lease is not None
    counter.facts.write_source("default", lease.epoch, None)
    assert findings(counter) == []


def test_one_that_has_given_nothing_is_an_error(counter: Counter) -> None:
    fail(counter, "srv://_http._tcp.web.test", SourceCause.NAME_SERVER, ())
    (finding,) = findings(counter)
    assert finding["level"] == "bad"
    assert finding["finding"].endswith("; it has given no backend")
    assert finding["advice"].startswith("`dig _http._tcp.web.test SRV` on checker")


def test_a_pool_that_is_empty_for_it_has_its_correction_as_advice() -> None:
    counter = Counter(backends=[], discovery={"source": "file:/etc/lbflask/backends.toml"})
    counter.check()
    fail(counter, "file:/etc/lbflask/backends.toml", SourceCause.MISSING, ())
    (finding,) = findings(counter)
    assert "`ls -l /etc/lbflask/backends.toml`" in finding["advice"]
    (pool,) = findings(counter, "pool default")
    assert pool["advice"].startswith("correct its discovery")


@pytest.mark.parametrize("cause", SourceCause)
def test_each_cause_has_advice_of_its_own(counter: Counter, cause: SourceCause) -> None:
    fail(counter, "later:whatever", cause)
    (finding,) = findings(counter)
    assert finding["advice"]
    assert "{" not in finding["advice"]


def test_while_no_checker_speaks_only_that_is_said(counter: Counter) -> None:
    fail(counter, "dns://web.test:80", SourceCause.NO_NAME)
    counter.clock.advance(30.0)
    assert findings(counter) == []
