"""A backend is killed under load and comes back: clients notice nothing, and the others carry its share evenly."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import redis

from devtools.servers import Gunicorn, free_port, start_checker, start_demo, urls
from devtools.traffic import AccessLogLine, Traffic, access_log, traffic
from devtools.wait import eventually
from lbflask.core.model import Health
from lbflask.store import records
from lbflask.store.keys import PoolKeys

pytestmark = pytest.mark.e2e

#: Seconds between two checks.
INTERVAL = 4
KEYS = PoolKeys("lbflask", "default")


@dataclass(frozen=True, slots=True)
class Story:
    """What happened. Moments are of the steady clock; `log_*` are the same on the clock of the access log."""

    load: Traffic
    log: list[AccessLogLine]
    dead: int
    others: list[int]
    killed: float
    restarted: float
    returned: float
    log_killed: float
    log_restarted: float

    def attempts(self, since: float, until: float) -> int:
        """How often the dead backend was tried in the requests that ended in this stretch of the log."""
        name = f"127.0.0.1:{self.dead}"
        return sum(line.tried.count(name) for line in self.log if since <= line.moment < until)


@pytest.fixture(scope="module")
def story(store: str) -> Iterator[Story]:
    """About 100 requests a second, a `kill -9`, some seconds without the backend, and its return."""
    ports = [free_port() for _ in range(3)]
    dead, *others = ports
    settings = {"redis_url": store, "backends": urls(ports), "health__interval": INTERVAL}
    with ExitStack() as running:
        victim, *_ = [running.enter_context(start_demo(port)) for port in ports]
        running.enter_context(start_checker(**settings))
        balancer = running.enter_context(Gunicorn(**settings))
        client = running.enter_context(redis.Redis.from_url(store))

        def is_known_to_be(health: Health) -> bool:
            found = records.parse_active(client.hget(KEYS.active, f"127.0.0.1:{dead}") or b"")
            return found is not None and found.health is health

        eventually(lambda: set(balancer.healths().values()) == {"up"}, "all are up")
        load = running.enter_context(traffic(balancer.port, clients=8, rate=100))
        _after(load, 100)
        log_killed = time.time()
        victim.kill()
        killed = time.monotonic()
        eventually(lambda: is_known_to_be(Health.DOWN), "the checker sees the death")
        eventually(lambda: time.monotonic() > killed + INTERVAL, "an interval has gone by")
        _after(load, 200)
        restarted, log_restarted = time.monotonic(), time.time()
        running.enter_context(start_demo(dead))
        eventually(lambda: is_known_to_be(Health.UP), "the checker sees the return")
        eventually(lambda: {outcome.port for outcome in load.outcomes[-30:]} == set(ports), "it serves again")
        eventually(lambda: all(balancer.healths()[f"127.0.0.1:{dead}"] == "up" for _ in range(20)), "both workers know")
        returned = time.monotonic()
        _after(load, 200)
        load.stop()
        assert balancer.stop() == 0
        log = access_log(balancer.output)
        yield Story(load, log, dead, others, killed, restarted, returned, log_killed, log_restarted)


def _after(load: Traffic, more: int) -> None:
    """Wait until so many more requests were answered."""
    until = len(load.outcomes) + more
    eventually(lambda: len(load.outcomes) >= until, f"{more} more requests")


def _is_even(shares: Counter[int], allowed: float) -> bool:
    """Whether all are within this part of their mean."""
    mean = sum(shares.values()) / len(shares)
    return all(abs(share - mean) <= allowed * mean for share in shares.values())


def test_not_one_get_fails(story: Story) -> None:
    assert story.load.failures == []
    assert {line.status for line in story.log} == {200}
    assert len(story.log) == len(story.load.outcomes)


def test_requests_that_meet_the_dead_backend_go_on_to_another(story: Story) -> None:
    assert story.attempts(story.log_killed, story.log_restarted) > 0


def test_within_one_interval_no_attempt_reaches_it_any_more(story: Story) -> None:
    assert story.attempts(story.log_killed + INTERVAL, story.log_restarted) == 0


def test_the_other_two_share_the_load_evenly_while_it_is_down(story: Story) -> None:
    shares = story.load.shares(story.killed, story.restarted)
    assert set(shares) == set(story.others)
    assert _is_even(shares, 0.05), shares


def test_restarted_on_the_same_port_it_gets_its_share_again(story: Story) -> None:
    shares = story.load.shares(story.returned)
    assert set(shares) == {story.dead, *story.others}
    # The eight requests under way at either end of so short a stretch may be anybody's.
    assert _is_even(shares, 0.2), shares
