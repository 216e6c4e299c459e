"""The settings of an instance, as others can read them."""

from __future__ import annotations

import pytest

from lbflask.fleet.local_worker import LocalWorker
from lbflask.fleet.published_settings import PUBLISH_EVERY, PublishedSettings
from lbflask.fleet.store_link import StoreLink
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import MAX_CONFIGURATION, StoreUnavailable
from tests.fleet.stores import FlakyStore
from tests.store.stores import ManualClock


class Publishing:
    """A worker under a clock that is moved by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.facts = MemoryStore(self.clock)
        self.store = FlakyStore(self.facts)
        self.link = StoreLink(self.store, lambda _: None, lambda: None, lambda: None)
        self.worker = LocalWorker(clock=self.clock)
        self.publish = PublishedSettings(self.worker, self.link).publish

    @property
    def written(self) -> list[tuple[object, ...]]:
        return self.store.asked("write_configuration")


def test_they_are_published_when_they_change_and_again_before_they_are_forgotten() -> None:
    one = Publishing()
    one.publish()
    assert one.written == [], "nothing is known yet"
    one.worker.set_config("abc", "{}")
    for _ in range(3):
        one.publish()
    assert one.written == [("abc", "{}")]
    one.worker.set_config("def", '{"via":"x"}')
    one.publish()
    assert one.written[1:] == [("def", '{"via":"x"}')]
    one.clock.advance(PUBLISH_EVERY)
    one.publish()
    assert one.written[2:] == [("def", '{"via":"x"}')]
    assert one.facts.read_configuration("def") == {"via": "x"}


def test_those_that_are_too_long_are_not() -> None:
    one = Publishing()
    one.worker.set_config("abc", "x" * (MAX_CONFIGURATION + 1))
    one.publish()
    assert one.written == []


def test_a_store_that_is_away_gets_them_when_it_is_back() -> None:
    one = Publishing()
    one.worker.set_config("abc", "{}")
    one.store.lose()
    with pytest.raises(StoreUnavailable):
        one.publish()
    one.link.lost(StoreUnavailable("gone"))
    before = len(one.written)
    one.publish()
    assert len(one.written) == before, "a lost store is left to the follower"
    one.store.find()
    one.link.restored()
    one.publish()
    assert one.facts.read_configuration("abc") == {}
