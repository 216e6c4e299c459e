"""Names and wildcards that a real ACME server validates by records which a command of the operator's writes."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.servers import get
from devtools.wait import eventually
from tests.e2e.test_automatic_certificates import Site, issued
from tests.support.dns_hook import DnsZone

pytestmark = pytest.mark.e2e

NAMES = ("shop.example", "*.shop.example")


@pytest.fixture
def site(tmp_path: Path, store: str, demos: list[int]) -> Iterator[Site]:
    site = Site(tmp_path, store, demos, *NAMES)
    yield site
    site.close()


@pytest.fixture
def zone(site: Site) -> Iterator[DnsZone]:
    with DnsZone(site.directory, site.authority.names) as zone:
        site.settings |= {
            "tls__acme__challenge": "dns-01",
            "tls__acme__dns_hook": zone.command,
            "tls__acme__dns_delay": 0,
        }
        yield zone


def test_a_name_and_its_wildcard_are_issued_and_their_records_removed(site: Site, zone: DnsZone) -> None:
    site.balancer("one")
    checker = site.checker("one")
    eventually(lambda: issued(checker) == sorted(NAMES), "both are issued", 60)
    assert {name for _, name, _ in zone.calls} == {"_acme-challenge.shop.example"}, "without the label of the wildcard"
    assert [action for action, _, _ in zone.calls].count("add") == 2
    assert zone.values == [], "no record stays"
    for name in ("shop.example", "any.shop.example"):
        eventually(lambda name=name: site.serves(site.https, name), f"{name} has a certificate")


@pytest.mark.long
def test_a_command_that_fails_is_named_and_the_order_goes_on_when_it_works(site: Site, zone: DnsZone) -> None:
    zone.refuses = "the provider has no such zone"
    balancer = site.balancer("one", tls__acme__domains=NAMES[1])
    checker = site.checker("one", tls__acme__domains=NAMES[1])
    reason = r"no certificate for \*\.shop\.example, next try in \d+ s: tls\.acme\.dns_hook: add \S+ failed with exit"
    eventually(lambda: re.search(reason, checker.output), "it fails")
    assert "exit code 1: the provider has no such zone" in checker.output
    assert site.orders() == 1
    page = eventually(lambda: failed_orders(get(balancer.admin_port, "/metrics").body.decode()), "the metric counts it")
    assert page == "1"
    checker.assert_no_traceback()


def failed_orders(page: str) -> str | None:
    found = re.search(r'lbflask_acme_failed_orders\{name="\*\.shop\.example"\} ([1-9])', page)
    return found and found[1]


@pytest.mark.long
def test_without_the_command_no_order_is_begun(site: Site, zone: DnsZone) -> None:
    Path(zone.command).chmod(0o644)
    checker = site.checker("one", tls__acme__domains=NAMES[1])
    eventually(lambda: "is not executable: chmod +x" in checker.output, "the reason is in the log")
    assert site.orders() == 0


@pytest.mark.long
def test_a_successor_withdraws_what_a_killed_leader_has_shown(site: Site, zone: DnsZone) -> None:
    only = {"tls__acme__domains": NAMES[1]}
    site.balancer("one", **only)
    leader = site.checker("one", **only, tls__acme__dns_delay=100)
    eventually(lambda: zone.values, "the record is shown", 60)
    os.kill(leader.pid, signal.SIGKILL)
    successor = site.checker("two", **only)
    eventually(lambda: issued(successor) == [NAMES[1]], "the successor finishes the order", 60)
    assert site.orders() == 1
    assert zone.values == []
