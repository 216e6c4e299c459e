"""How addresses are found: literals at no cost, one lookup for all waiters, and no name delays another."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from devtools.wait import PATIENCE, eventually
from lbflask.upstream.resolver import (
    MAX_LOOKUPS,
    RENEWAL_TIMEOUT,
    RETRY_AFTER,
    STALE_FOR,
    VALID_FOR,
    HostAddress,
    SystemResolver,
    literal,
)

LONG = PATIENCE
V4, V6 = socket.AF_INET, socket.AF_INET6


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class NameService:
    """Answers as it is set to, counts, and delays names that are held."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.answers: dict[str, list[HostAddress] | Exception] = {}
        self.held: set[str] = set()
        self.go_on = threading.Event()

    def __call__(self, name: str) -> list[HostAddress]:
        self.asked[name] += 1
        if name in self.held:
            self.go_on.wait(2 * LONG)
        answer = self.answers.get(name, [HostAddress(V4, "192.0.2.1")])
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def service() -> Iterator[NameService]:
    service = NameService()
    yield service
    service.go_on.set()
    eventually(lambda: all(thread.name != "names" for thread in threading.enumerate()), "no lookup is left")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def resolver(service: NameService, clock: Clock) -> SystemResolver:
    return SystemResolver(service, clock)


def threads(resolver: SystemResolver, host: str, timeout: float = LONG) -> list[HostAddress]:
    return list(resolver.find(host, timeout))


def event_loop(resolver: SystemResolver, host: str, timeout: float = LONG) -> list[HostAddress]:
    return list(asyncio.run(resolver.find_async(host, timeout)))


Find = Callable[..., list[HostAddress]]


@pytest.fixture(params=[threads, event_loop])
def find(request: pytest.FixtureRequest) -> Find:
    found: Find = request.param
    return found


# Addresses

LO = socket.if_nametoindex("lo")


@pytest.mark.parametrize(
    ("host", "family", "address", "scope"),
    [
        ("127.0.0.1", V4, "127.0.0.1", 0),
        ("127.1", V4, "127.0.0.1", 0),
        ("0x7f.1", V4, "127.0.0.1", 0),
        ("2130706433", V4, "127.0.0.1", 0),
        ("::1", V6, "::1", 0),
        ("[::1]", V6, "::1", 0),
        ("::ffff:192.0.2.1", V6, "::ffff:192.0.2.1", 0),
        ("fe80::1%lo", V6, "fe80::1", LO),
        ("[fe80::1%lo]", V6, "fe80::1", LO),
        (f"fe80::1%{LO}", V6, "fe80::1", LO),
    ],
)
def test_an_address_is_not_looked_up(
    host: str, family: int, address: str, scope: int, service: NameService, resolver: SystemResolver, find: Find
) -> None:
    assert find(resolver, host) == [HostAddress(family, address, scope)]
    assert not service.asked
    assert len(find(resolver, host)[0].at(80)) == (2 if family == V4 else 4)


@pytest.mark.parametrize(
    "host", ["localhost", "web.test", "1.test", "1a", "1.2.3.4.5", "fe80::1%none", "::g", "1 2", ""]
)
def test_what_is_no_address_is_a_name(host: str) -> None:
    assert literal(host) is None


# Names


def test_an_answer_is_good_for_a_while(
    service: NameService, clock: Clock, resolver: SystemResolver, find: Find
) -> None:
    for _ in range(5):
        assert find(resolver, "web.test") == [HostAddress(V4, "192.0.2.1")]
    clock.now += VALID_FOR - 0.01
    find(resolver, "web.test")
    assert service.asked == {"web.test": 1}
    clock.now += 0.02
    service.answers["web.test"] = [HostAddress(V4, "192.0.2.2")]
    assert find(resolver, "web.test") == [HostAddress(V4, "192.0.2.2")]
    assert service.asked == {"web.test": 2}


def test_all_callers_wait_for_one_lookup_of_a_name(service: NameService, resolver: SystemResolver) -> None:
    service.held.add("web.test")
    with ThreadPoolExecutor(16) as askers:
        asked = [askers.submit(threads, resolver, "web.test") for _ in range(16)]
        eventually(lambda: service.asked["web.test"], "it is asked")
        service.go_on.set()
        assert all(one.result(LONG) for one in asked)
    assert service.asked == {"web.test": 1}


def test_a_lookup_has_the_time_that_there_is(
    service: NameService, clock: Clock, resolver: SystemResolver, find: Find
) -> None:
    """A caller that comes when it has taken longer already does not wait at all."""
    service.held.add("slow.test")
    with pytest.raises(TimeoutError):
        find(resolver, "slow.test", 0.05)
    clock.now += 1000
    with pytest.raises(TimeoutError):
        find(resolver, "slow.test", 500)
    assert service.asked == {"slow.test": 1}


def test_slow_names_delay_no_other(service: NameService, resolver: SystemResolver, find: Find) -> None:
    names = [f"{number}.slow.test" for number in range(MAX_LOOKUPS - 1)]
    service.held.update(names)
    for name in names * 2:
        with pytest.raises(TimeoutError):
            find(resolver, name, 0.0)
    assert find(resolver, "web.test") == [HostAddress(V4, "192.0.2.1")]
    eventually(lambda: set(service.asked.values()) == {1}, "each is asked for once")


def test_more_names_than_may_be_looked_up_at_once_wait_for_their_turn(
    service: NameService, resolver: SystemResolver
) -> None:
    names = [f"{number}.slow.test" for number in range(MAX_LOOKUPS + 5)]
    service.held.update(names)
    for name in names:
        with pytest.raises(TimeoutError):
            resolver.find(name, 0.0)
    eventually(lambda: len(service.asked) == MAX_LOOKUPS, "as many as may")
    service.go_on.set()
    eventually(lambda: len(service.asked) == len(names), "the others")


FAILURES = [
    socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    UnicodeError("label too long"),
    ValueError("embedded null byte"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_a_failure_is_remembered_shortly(
    failure: Exception, service: NameService, clock: Clock, resolver: SystemResolver, find: Find
) -> None:
    service.answers["web.test"] = failure
    for _ in range(3):
        with pytest.raises(type(failure), match=str(failure.args[-1])):
            find(resolver, "web.test")
    assert service.asked == {"web.test": 1}
    del service.answers["web.test"]
    clock.now += RETRY_AFTER
    assert find(resolver, "web.test")


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.EMFILE, "Too many open files"),
        socket.gaierror(socket.EAI_MEMORY, "Memory"),
        RuntimeError("thread"),
    ],
)
def test_our_own_shortage_is_not_remembered(
    failure: Exception, service: NameService, resolver: SystemResolver, find: Find
) -> None:
    service.answers["web.test"] = failure
    with pytest.raises(OSError):  # noqa: PT011 - whatever it is
        find(resolver, "web.test")
    del service.answers["web.test"]
    assert find(resolver, "web.test")


def test_an_earlier_answer_is_used_while_no_server_answers(
    service: NameService, clock: Clock, resolver: SystemResolver, find: Find
) -> None:
    """RFC 8767; but a name that is gone is gone, and after a day nothing is left of it."""
    found = find(resolver, "web.test")
    service.answers["web.test"] = FAILURES[1]
    for _ in range(3):
        clock.now += VALID_FOR
        assert find(resolver, "web.test") == found
    assert service.asked["web.test"] == 4
    clock.now += STALE_FOR
    with pytest.raises(socket.gaierror):
        find(resolver, "web.test")


def test_a_name_that_is_gone_is_gone(service: NameService, clock: Clock, resolver: SystemResolver, find: Find) -> None:
    find(resolver, "web.test")
    clock.now += VALID_FOR
    service.answers["web.test"] = FAILURES[0]
    with pytest.raises(socket.gaierror):
        find(resolver, "web.test")


def test_a_slow_lookup_delays_no_caller_that_has_an_earlier_answer(
    service: NameService, clock: Clock, resolver: SystemResolver, find: Find
) -> None:
    found = find(resolver, "web.test")
    clock.now += VALID_FOR
    service.held.add("web.test")
    assert find(resolver, "web.test", 1000) == found
    clock.now += RENEWAL_TIMEOUT
    assert find(resolver, "web.test", 1000) == found
    assert service.asked["web.test"] == 2


def test_addresses_of_the_preferred_family_are_tried_in_turn(
    service: NameService, resolver: SystemResolver, find: Find
) -> None:
    """As name servers rotate their answers; the order of families stays (RFC 6724)."""
    first, second, third = (HostAddress(V6, f"2001:db8::{number}") for number in range(3))
    other = HostAddress(V4, "192.0.2.9")
    service.answers["web.test"] = [first, second, third, other]
    assert [find(resolver, "web.test") for _ in range(4)] == [
        [first, second, third, other],
        [second, third, first, other],
        [third, first, second, other],
        [first, second, third, other],
    ]


def test_the_systems_resolver_is_asked() -> None:
    """/etc/hosts is one of the things that it knows."""
    assert {address.address for address in SystemResolver().find("localhost", LONG)} <= {"127.0.0.1", "::1"}


def test_a_thread_that_cannot_be_started_is_our_own_failure(
    resolver: SystemResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="can't start new thread"):
            resolver.find("web.test", LONG)
    assert resolver.find("web.test", LONG)
