"""Orders that are interrupted: leaders that are killed, a store that goes away, an authority with faults."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.ports import free_port
from devtools.servers import Gunicorn, Process, start_valkey
from devtools.wait import eventually
from tests.e2e.test_automatic_certificates import NAMES, Site, issued
from tests.support.faulty_authority import Fault, FaultyAuthority, problem

pytestmark = pytest.mark.e2e

NAME = NAMES[0]
NEW_ACCOUNT, NEW_ORDER, CHALLENGE, FINALIZE, CERTIFICATE = (
    "/sign-me-up", "/order-plz", "/chalZ/", "/finalize-order/", "/certZ/"
)  # fmt: skip


@pytest.fixture
def site(tmp_path: Path, store: str, demos: list[int]) -> Iterator[Site]:
    site = Site(tmp_path, store, demos, NAME)
    yield site
    site.close()


@pytest.fixture
def faulty(site: Site) -> Iterator[FaultyAuthority]:
    with FaultyAuthority(site.directory, site.authority) as faulty:
        site.settings |= {"tls__acme__directory": faulty.directory, "tls__acme__ca": faulty.ca_file}
        yield faulty


@pytest.mark.parametrize(
    ("at", "orders"), [(NEW_ACCOUNT, 1), (NEW_ORDER, 2), (CHALLENGE, 1), (FINALIZE, 1), (CERTIFICATE, 1)]
)
@pytest.mark.sampled(5, 1)
@pytest.mark.long
def test_a_successor_finishes_what_a_killed_leader_had_asked_for(
    site: Site, faulty: FaultyAuthority, at: str, orders: int
) -> None:
    """The authority has done it, and the leader dies before it gets the response. Only an order whose URL is in the
    response is lost.
    """
    faulty.spoil(at, Fault(passes=True, on_hold=True))
    site.balancer("one")
    leader = site.checker("one")
    eventually(lambda: faulty.asked(at), "the authority is asked", 60)
    eventually(lambda: site.authority.log.count(f"POST {at}"), "it has got the request")
    os.kill(leader.pid, signal.SIGKILL)
    faulty.heal(at)
    successor = site.checker("two")
    eventually(lambda: issued(successor) == [NAME], "the successor gets the certificate", 60)
    eventually(lambda: site.serves(site.https, NAME), "it is presented")
    assert len(faulty.asked(NEW_ORDER)) == orders
    successor.assert_no_traceback()


@pytest.mark.parametrize(
    ("at", "fault", "reason"),
    [
        (NEW_ORDER, Fault(429, problem("rateLimited", "too many orders"), retry_after="7200"), "too many orders"),
        (NEW_ACCOUNT, Fault(500, b"<html>Oops"), "500"),
        (FINALIZE, Fault(200, b"[" * 100_000), "cannot be used"),
        (CERTIFICATE, Fault(200, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"), "in PEM form"),
        ("/dir", Fault(200, b"\xff\x00"), ""),
    ],
)  # fmt: skip
@pytest.mark.sampled(5, 1)
def test_faults_of_an_authority_are_reasons_to_wait(
    site: Site, faulty: FaultyAuthority, at: str, fault: Fault, reason: str
) -> None:
    faulty.spoil(at, fault)
    balancer = site.balancer("one")
    checker = site.checker("one")
    line = eventually(
        lambda: re.search(rf"no certificate for {NAME}, next try in (\d+) s: (.*)", checker.output), "it fails", 60
    )
    assert int(line[1]) >= float(fault.retry_after or 60) - 1
    assert reason in line[2]
    assert line[2].isprintable()
    eventually(lambda: set(balancer.healths().values()) == {"up"}, "health checks go on")
    assert checker.running
    checker.assert_no_traceback()
    balancer.assert_no_traceback()


@pytest.mark.long
def test_a_store_that_loses_all_in_the_middle_of_an_order_delays_it(tmp_path: Path, demos: list[int]) -> None:
    port = free_port()
    store = start_valkey(port=port)
    site = Site(tmp_path, f"redis://127.0.0.1:{port}/0", demos, NAME)
    try:
        with FaultyAuthority(site.directory, site.authority) as faulty:
            site.settings |= {"tls__acme__directory": faulty.directory, "tls__acme__ca": faulty.ca_file}
            faulty.spoil(CHALLENGE, Fault(503, problem("serverInternal"), passes=False))
            balancer = site.balancer("one")
            checker = site.checker("one")
            eventually(lambda: faulty.asked(CHALLENGE), "the order is in its middle", 60)
            store.kill()
            eventually(lambda: "waiting for the store" in checker.output or balancer_lost(balancer), "it is missed", 60)
            faulty.heal(CHALLENGE)
            store = start_valkey(port=port)
            eventually(lambda: issued(checker) == [NAME], "it is issued afterwards", 90)
            assert len(faulty.asked(NEW_ACCOUNT)) == 1, "the account was in the copy"
            eventually(lambda: site.serves(site.https, NAME), "it is presented", 60)
            checker.assert_no_traceback()
            balancer.assert_no_traceback()
    finally:
        site.close()
        store.kill()


def balancer_lost(balancer: Gunicorn) -> bool:
    return balancer.health()[1]["status"] == "degraded"


@pytest.mark.long
def test_a_name_that_leaves_the_list_in_the_middle_of_an_order_leaves_the_others_alone(
    site: Site, faulty: FaultyAuthority
) -> None:
    """Its certificate stays in the store, in case it comes back; clients do not get it any more."""
    site.authority.resolve(NAMES[1])
    faulty.spoil(CHALLENGE, Fault(passes=True, on_hold=True))
    file = site.directory / "checker.toml"
    del site.settings["tls__acme__domains"]

    def listed(*names: str) -> None:
        listeners = (site.directory / f"one-{site.http}.toml").read_text()
        file.write_text(f"{listeners}\n[tls.acme]\ndomains = {list(names)!r}\n".replace("'", '"'))

    balancer = site.balancer("one", tls__acme__domains=NAME)
    listed(*NAMES[:2])
    checker = site.checker("one", config=file)
    eventually(lambda: faulty.asked(CHALLENGE), "an order is in its middle", 60)
    listed(NAME)
    checker.signal(signal.SIGHUP)
    faulty.heal(CHALLENGE)
    eventually(lambda: issued(checker) == [NAME], "the listed name is issued", 90)
    eventually(lambda: site.serves(site.https, NAME), "it is presented")
    assert NAMES[1] not in issued(checker)
    checker.assert_no_traceback()
    balancer.assert_no_traceback()


@pytest.mark.long
def test_another_fleet_with_the_same_namespace_and_another_key_takes_no_certificate_away(site: Site) -> None:
    balancer = site.balancer("one")
    first = site.checker("one")
    eventually(lambda: site.serves(site.https, NAME), "it is issued", 60)
    serial = site.serial(site.https, NAME)
    stop(first)
    other = site.checker("two", tls__acme__key="another key, which another operator has made")
    eventually(lambda: "another fleet with this namespace" in other.output, "the reason is in the log", 60)
    eventually(lambda: f"no certificate for {NAME}" in other.output, "workers with the other key cannot help it", 60)
    stop(other)
    again = site.checker("one")
    eventually(lambda: "records, which are written again" in again.output, "the account is restored", 60)
    balancer.stop()
    site.balancer("one")
    assert site.serial(site.https, NAME) == serial, "from the copy, which has not taken foreign records"
    assert site.orders() == 2, "one of each fleet"
    other.assert_no_traceback()
    again.assert_no_traceback()


def stop(checker: Process) -> None:
    checker.signal(signal.SIGTERM)
    checker.wait()
