"""Backends from a name server: a real one, that says and does what each test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import dns.rcode
import pytest

from devtools.servers import free_port
from lbflask.discovery.dns_resolver import DnsResolver, Server
from lbflask.discovery.dns_sources import AddressSource, ServiceSource, TtlBounds
from lbflask.discovery.source import DiscoveryFailure, DiscoveryResult, DiscoverySource
from tests.support.nameserver import NameServer

NAME = "web.test"
SERVICE = "_http._tcp.web.test"


@pytest.fixture
def server() -> Iterator[NameServer]:
    with NameServer() as server:
        yield server


def names(*ports: int, timeout: float = 5.0, family: str = "any") -> DnsResolver:
    return DnsResolver([Server("127.0.0.1", port) for port in ports], timeout=timeout, family=family)


def addresses(
    server: NameServer, *, scheme: str = "http", weight: int = 1, pace: TtlBounds | None = None, **options: Any
) -> AddressSource:
    return AddressSource(names(server.port, **options), NAME, 8000, scheme, weight, pace or TtlBounds())


def services(server: NameServer, *, pace: TtlBounds | None = None, **options: Any) -> ServiceSource:
    return ServiceSource(names(server.port, **options), SERVICE, "http", pace or TtlBounds())


def ask(source: DiscoverySource) -> DiscoveryResult:
    broken: list[dict[str, Any]] = []

    async def watched() -> DiscoveryResult:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
        return await source.ask()

    answer = asyncio.run(watched())
    assert not broken
    return answer


def refusal(source: DiscoverySource) -> str:
    with pytest.raises(DiscoveryFailure) as refused:
        ask(source)
    return str(refused.value)


def ids(answer: DiscoveryResult) -> list[str]:
    return [one.backend.id for one in answer.found]


def shares(answer: DiscoveryResult) -> dict[str, tuple[int, bool]]:
    """Weight of each backend, and whether it is a backup."""
    return {one.backend.id: (one.backend.weight, one.backend.backup) for one in answer.found}


# Addresses


def test_each_address_of_a_name_is_a_backend(server: NameServer) -> None:
    server.set(NAME, "A", "10.0.0.10", "10.0.0.9")
    server.set(NAME, "AAAA", "fd00::1")
    answer = ask(addresses(server, scheme="https", weight=3))
    assert ids(answer) == ["10.0.0.9:8000", "10.0.0.10:8000", "[fd00::1]:8000"]
    first, _, last = (one.backend for one in answer.found)
    assert (first.host, first.port, first.url, first.weight) == ("10.0.0.9", 8000, "https://10.0.0.9:8000", 3)
    assert (last.host, last.url, last.authority) == ("fd00::1", "https://[fd00::1]:8000", "[fd00::1]:8000")
    assert not answer.doubt


def test_the_order_of_an_answer_makes_no_difference(server: NameServer) -> None:
    server.set(NAME, "A", "10.0.0.1", "10.0.0.2", "10.0.0.3")
    first = ask(addresses(server))
    server.set(NAME, "A", "10.0.0.3", "10.0.0.1", "10.0.0.2")
    assert ask(addresses(server)).found == first.found


@pytest.mark.parametrize(
    ("family", "found"),
    [("any", ["10.0.0.1:8000", "[fd00::1]:8000"]), ("ipv4", ["10.0.0.1:8000"]), ("ipv6", ["[fd00::1]:8000"])],
)
def test_a_family_alone_is_asked_for(server: NameServer, family: str, found: list[str]) -> None:
    server.set(NAME, "A", "10.0.0.1")
    server.set(NAME, "AAAA", "fd00::1")
    assert ids(ask(addresses(server, family=family))) == found
    assert {kind for (_, kind), _ in server.questions} == {"any": {"A", "AAAA"}, "ipv4": {"A"}, "ipv6": {"AAAA"}}[
        family
    ]


def test_an_answer_is_good_for_the_shortest_time_to_live_in_it(server: NameServer) -> None:
    server.set(NAME, "A", "10.0.0.1", ttl=30)
    server.set(NAME, "AAAA", "fd00::1", ttl=20)
    assert ask(addresses(server)).good_for == 20


def test_an_alias_is_followed_and_its_time_to_live_counts(server: NameServer) -> None:
    server.set(NAME, "A", "10.0.0.1", ttl=7, at="elsewhere.test")
    assert (ids(ask(addresses(server))), ask(addresses(server)).good_for) == (["10.0.0.1:8000"], 7)


@pytest.mark.parametrize(("ttl", "good_for"), [(0, 2), (2, 2), (5, 5), (10, 10), (86_400, 10)])
def test_the_time_to_live_is_kept_within_its_bounds(server: NameServer, ttl: int, good_for: float) -> None:
    server.set(NAME, "A", "10.0.0.1", ttl=ttl)
    assert ask(addresses(server, pace=TtlBounds(2, 10))).good_for == good_for


def test_an_answer_too_long_for_a_datagram_is_asked_for_by_tcp(server: NameServer) -> None:
    server.truncates = True
    many = [f"10.0.{number // 250}.{number % 250}" for number in range(1, 501)]
    server.set(NAME, "A", *many)
    assert len(ids(ask(addresses(server, family="ipv4")))) == 500
    assert (server.asked(NAME, "A", "udp"), server.asked(NAME, "A", "tcp")) == (1, 1)


def test_a_name_server_that_is_gone_is_passed_over(server: NameServer) -> None:
    server.set(NAME, "A", "10.0.0.1")
    source = AddressSource(
        names(free_port(), server.port, timeout=1, family="ipv4"), NAME, 8000, "http", 1, TtlBounds()
    )
    assert ids(ask(source)) == ["10.0.0.1:8000"]


# What is no answer


def test_a_name_that_does_not_exist_is_no_answer(server: NameServer) -> None:
    assert refusal(addresses(server)) == f"there is no name {NAME}"


@pytest.mark.parametrize("addresses_of_nobody", [[], ["0.0.0.0"], ["224.0.0.1"]])
def test_a_name_without_addresses_of_hosts_is_no_answer(server: NameServer, addresses_of_nobody: list[str]) -> None:
    server.set(NAME, "A", *addresses_of_nobody)
    assert refusal(addresses(server)) == f"{NAME} has no addresses"


@pytest.mark.parametrize(("rcode", "said"), [(dns.rcode.SERVFAIL, "SERVFAIL"), (dns.rcode.REFUSED, "REFUSED")])
def test_a_name_server_that_fails_gives_no_answer(server: NameServer, rcode: int, said: str) -> None:
    server.fail(NAME, "A", rcode=rcode)
    reason = refusal(addresses(server, family="ipv4"))
    assert reason == f"{NAME} A: 127.0.0.1@{server.port} answered {said}"


def test_a_name_server_that_says_nothing_gives_no_answer_in_time(server: NameServer) -> None:
    server.silent = True
    reason = refusal(addresses(server, family="ipv4", timeout=0.05))
    assert reason == f"{NAME} A: no name server answered within 0.05 s"


# What fails in part


def test_the_addresses_of_a_family_that_fails_are_as_they_were(server: NameServer) -> None:
    server.set(NAME, "A", "10.0.0.1")
    server.set(NAME, "AAAA", "fd00::1")
    source = addresses(server)
    assert len(ids(ask(source))) == 2
    server.set(NAME, "A", "10.0.0.2")
    server.fail(NAME, "AAAA")
    answer = ask(source)
    assert ids(answer) == ["10.0.0.2:8000", "[fd00::1]:8000"]
    assert answer.doubt == f"{NAME} AAAA: 127.0.0.1@{server.port} answered SERVFAIL"
    server.set(NAME, "AAAA")
    assert (ids(ask(source)), ask(source).doubt) == (["10.0.0.2:8000"], "")


def test_a_family_that_never_answered_does_not_keep_the_other_from_serving(server: NameServer) -> None:
    server.set(NAME, "A", "10.0.0.1")
    server.fail(NAME, "AAAA")
    answer = ask(addresses(server))
    assert ids(answer) == ["10.0.0.1:8000"]
    assert "SERVFAIL" in answer.doubt


# Services


def test_each_address_of_each_target_is_a_backend(server: NameServer) -> None:
    server.set(SERVICE, "SRV", "10 20 8001 a.test.", "10 10 8002 b.test.")
    server.set("a.test", "A", "10.0.0.1")
    server.set("b.test", "A", "10.0.0.2", "10.0.0.3")
    answer = ask(services(server))
    assert shares(answer) == {"10.0.0.1:8001": (20, False), "10.0.0.2:8002": (5, False), "10.0.0.3:8002": (5, False)}
    assert not answer.doubt


def test_the_lowest_priority_serves_and_the_others_are_backups(server: NameServer) -> None:
    server.set(SERVICE, "SRV", "20 7 8001 a.test.", "10 3 8002 a.test.", "30 1 8003 a.test.")
    server.set("a.test", "A", "10.0.0.1")
    expected = {"10.0.0.1:8002": (3, False), "10.0.0.1:8001": (7, True), "10.0.0.1:8003": (1, True)}
    assert shares(ask(services(server))) == expected


def test_addresses_beside_the_answer_are_not_asked_for(server: NameServer) -> None:
    server.set(SERVICE, "SRV", "0 1 8001 A.test.", "0 1 8001 b.test.", ttl=60)
    server.tell_beside("a.test", "A", "10.0.0.1", ttl=40)
    server.set("b.test", "A", "10.0.0.2", ttl=50)
    answer = ask(services(server, family="ipv4"))
    assert (ids(answer), answer.good_for) == (["10.0.0.1:8001", "10.0.0.2:8001"], 40)
    assert (server.asked("a.test", "A"), server.asked("b.test", "A")) == (0, 1)


def test_a_service_that_is_said_to_be_nowhere_has_no_backends(server: NameServer) -> None:
    server.set(SERVICE, "SRV", "0 0 0 .", ttl=9)
    assert ask(services(server)) == DiscoveryResult((), 9)


def test_a_service_that_does_not_exist_is_no_answer(server: NameServer) -> None:
    assert refusal(services(server)) == f"there is no name {SERVICE}"


@pytest.mark.parametrize("services_of_nobody", [[], ["0 1 0 a.test."]])
def test_a_name_without_services_is_no_answer(server: NameServer, services_of_nobody: list[str]) -> None:
    server.set(SERVICE, "SRV", *services_of_nobody)
    assert refusal(services(server)) == f"{SERVICE} has no SRV records"


def test_a_target_that_cannot_be_resolved_is_as_it_was(server: NameServer) -> None:
    server.set(SERVICE, "SRV", "0 1 8001 a.test.", "0 1 8002 b.test.")
    server.set("a.test", "A", "10.0.0.1")
    server.set("b.test", "A", "10.0.0.2")
    source = services(server, family="ipv4")
    assert ids(ask(source)) == ["10.0.0.1:8001", "10.0.0.2:8002"]
    server.remove("a.test")
    server.fail("b.test", "A")
    answer = ask(source)
    assert ids(answer) == ["10.0.0.1:8001", "10.0.0.2:8002"]
    assert answer.doubt == f"there is no name a.test.; b.test. A: 127.0.0.1@{server.port} answered SERVFAIL"


def test_a_target_that_was_never_resolved_is_left_out(server: NameServer) -> None:
    server.set(SERVICE, "SRV", "0 1 8001 a.test.", "0 1 8002 b.test.")
    server.set("a.test", "A", "10.0.0.1")
    answer = ask(services(server))
    assert (ids(answer), answer.doubt) == (["10.0.0.1:8001"], "there is no name b.test.")


def test_a_service_with_no_target_that_can_be_resolved_is_no_answer(server: NameServer) -> None:
    server.set(SERVICE, "SRV", "0 1 8001 a.test.", "0 1 8002 a.test.")
    assert refusal(services(server)) == "there is no name a.test."


def test_a_target_that_is_named_no_more_is_forgotten(server: NameServer) -> None:
    server.set(SERVICE, "SRV", "0 1 8001 a.test.")
    server.set("a.test", "A", "10.0.0.1")
    server.set("b.test", "A", "10.0.0.2")
    source = services(server)
    ask(source)
    server.set(SERVICE, "SRV", "0 1 8001 b.test.")
    ask(source)
    server.remove("a.test")
    server.set(SERVICE, "SRV", "0 1 8001 a.test.", "0 1 8001 b.test.")
    assert ids(ask(source)) == ["10.0.0.2:8001"]


def test_sources_are_called_by_their_urls(server: NameServer) -> None:
    assert str(addresses(server)) == "dns://web.test:8000"
    assert str(services(server)) == "srv://_http._tcp.web.test"


def test_sources_that_fail_are_left_alone_for_half_a_minute_at_most() -> None:
    assert (TtlBounds().patience, TtlBounds(1, 10).patience) == (30, 10)
