"""The legend of the keys, and the page that shows it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from devtools.servers import ROOT
from lbflask.core.discovery import SourceFailure
from lbflask.core.ejection import EjectionPolicy, FailureReport
from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.fleet_stats import WorkerIdentity, WorkerReport
from lbflask.core.model import ActiveHealth, Backend, Health, Override
from lbflask.core.rate_limit import RateLimit
from lbflask.core.slots import BackendSlots, SlotDemand
from lbflask.store.keys import FleetKeys, PoolKeys, as_markdown, bucket, configuration, contents
from lbflask.store.ports import FLEET, Beat, HealthWrite
from tests.store.stores import real_redis

LIMIT = RateLimit("login", 1, 60, 1)
FLEETS_NAMES = list(contents(FleetKeys))
NAMES = list(contents(PoolKeys))
CHANNELS = {"changes", "suspects", "free_slots"}
#: What is there for a moment only.
TRIALS = {"trial"}


def test_the_page_of_the_keys_is_the_legend_in_the_code() -> None:
    page = (ROOT / "docs" / "redis-keys.md").read_text("utf-8")
    assert page == as_markdown(), (
        "write it anew: python -c 'from lbflask.store.keys import as_markdown as page; print(page(), end=\"\")' "
        "> docs/redis-keys.md"
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_explained_in_one_row_of_the_page(name: str) -> None:
    keys = PoolKeys("namespace", "pool")
    explained = f"| `{getattr(keys, name)}` | {contents(PoolKeys)[name]} |"
    assert as_markdown().splitlines().count(explained) == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_key_carries_the_tag_of_its_pool(name: str) -> None:
    assert getattr(PoolKeys("fleet", "web"), name).startswith("{fleet:web}:")


@pytest.mark.parametrize("name", FLEETS_NAMES)
def test_every_key_of_the_fleet_is_explained_and_carries_its_tag(name: str) -> None:
    explained = f"| `{getattr(FleetKeys('namespace'), name)}` | {contents(FleetKeys)[name]} |"
    assert as_markdown().splitlines().count(explained) == 1
    assert getattr(FleetKeys("fleet"), name).startswith("{fleet:}:")


def test_no_two_keys_are_the_same() -> None:
    keys = [getattr(PoolKeys(*of), name) for name in NAMES for of in (("a", "x"), ("a", "y"), ("b", "x"))]
    assert len(set(keys)) == len(keys)


def test_the_keys_in_use_are_those_of_the_legend(redis_url: str) -> None:
    with real_redis(redis_url) as rig:
        rig.store.prove("web")
        rig.store.take_tickets("web", 1)
        lease = rig.store.hold_lease("web", "a", 600)
        assert lease is not None
        rig.store.write_active(
            "web", HealthWrite(lease.epoch, {"b": ActiveHealth(Health.UP)}, interval=1, announce=True)
        )
        rig.store.report_suspect("web", "b")
        rule = EjectionPolicy(("b", "c"), failures=2)
        assert not rig.store.count_failures("web", "b", FailureReport(1, 1, 1), rule)
        assert rig.store.count_failures("web", "c", FailureReport(2, 2, 2), rule)
        assert rig.store.hold_probe("web", "worker", 600)
        rig.store.beat("web", "worker", Beat({"b": 1}, {"b": 1}), read=True)
        assert rig.store.write_override("web", "b", None, Override(weight=2))
        assert rig.store.write_discovered("web", lease.epoch, [Backend("d", "d", 80, "http://d:80")])
        who = WorkerIdentity("one", "host", 7)
        rig.store.beat("web", "worker", Beat(report=WorkerReport(who, 1.0, 1.0)), read=False)
        assert rig.store.write_source("web", lease.epoch, SourceFailure("dns://d:80", "there is no name d", 1.0))
        rig.store.record([FleetEvent(Kind.HEALTH, "up", "web", "b")])
        fleet = rig.store.hold_lease(FLEET, "a", 600)
        assert fleet is not None
        assert rig.store.write_certificates(fleet.epoch, {"account": b"sealed"})
        rig.store.wish_certificates(["a.example"])
        rig.store.agree_on_secret("web", "secret-of-the-fleet")
        rig.store.hold_slots("web", "worker", SlotDemand([BackendSlots("b", 0, 5)], extra=1))
        rig.store.take_token(LIMIT, "secret")
        rig.store.write_configuration("abc", "{}")
        assert rig.client is not None
        in_use = {key.decode() for key in rig.client.scan_iter("{test*")}
        expiring = {key for key in in_use if rig.client.ttl(key) >= 0}
    keys = PoolKeys("test", "web")
    of_fleet = FleetKeys("test")
    of_limit, published = bucket("test", LIMIT, "secret"), configuration("test", "abc")
    assert in_use == {
        of_limit,
        published,
        of_fleet.events,
        of_fleet.certificates,
        of_fleet.certificate_version,
        of_fleet.wishes,
        of_fleet.leader,
        of_fleet.epoch,
        of_fleet.checkers,
        *(getattr(keys, name) for name in NAMES if name not in CHANNELS | TRIALS),
    }
    assert expiring == {
        of_fleet.wishes,
        of_fleet.leader,
        of_fleet.checkers,
        keys.leader,
        keys.checkers,
        keys.probe,
        keys.workers,
        keys.reports,
        keys.slots,
        keys.source,
        of_limit,
        published,
    }


def test_a_bucket_is_known_by_its_limit_and_by_a_digest_of_whom_it_is_for() -> None:
    others = [replace(LIMIT, name="x"), replace(LIMIT, count=2), replace(LIMIT, period=2), replace(LIMIT, burst=2)]
    names = {bucket("test", limit, key) for limit in (LIMIT, *others) for key in ("", "secret", "größer \udcff")}
    assert len(names) == 15
    assert all(name.startswith("{test:rate:") and "secret" not in name for name in names)
