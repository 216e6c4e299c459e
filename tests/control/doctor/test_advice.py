from __future__ import annotations

import pytest

from lbflask.control.doctor import advice
from lbflask.control.doctor.findings import CommandFacts
from lbflask.core.failure_causes import FailureCause
from lbflask.core.model import Backend
from lbflask.store.ports import StoreMemory

FACTS = CommandFacts("redis-cli -u redis://s1:6379")
HTTPS = Backend("w1", "w1.example", 8443, "https://w1.example:8443", scheme="https")


def test_each_cause_has_advice_of_its_own_for_the_peer_that_can_have_it() -> None:
    assert {*advice.BACKEND_ADVICE, *advice.STORE_ADVICE, FailureCause.UNKNOWN} == set(FailureCause)
    for table in (advice.BACKEND_ADVICE, advice.STORE_ADVICE):
        assert len(set(table.values())) == len(table)


@pytest.mark.parametrize("cause", FailureCause)
def test_the_names_in_it_are_those_of_the_backend(cause: FailureCause) -> None:
    text = advice.for_backend(cause, HTTPS)
    assert text
    assert "{" not in text
    assert text.count("`") % 2 == 0
    store = advice.for_store(cause, FACTS)
    assert store.count("`") % 2 == 0
    assert "{" not in store
    assert "redis-cli" not in store or FACTS.redis_cli in store


def test_a_command_can_be_pasted() -> None:
    expired = advice.for_backend(FailureCause.CERTIFICATE_EXPIRED, HTTPS)
    assert (
        "`openssl s_client -connect w1.example:8443 -servername w1.example </dev/null | openssl x509 -noout -enddate`"
        in expired
    )
    ipv6 = Backend("six", "::1", 80, "http://[::1]:80")
    assert "nothing listens at [::1]:80" in advice.for_backend(FailureCause.REFUSED, ipv6)
    unix = Backend("app", "", 0, "unix:/run/app.sock", scheme="unix", path="/run/app.sock")
    assert "`ls -l /run/app.sock`" in advice.for_backend(FailureCause.NO_SOCKET, unix)


def test_a_cause_that_is_not_known_has_advice_all_the_same() -> None:
    assert advice.for_backend(FailureCause.UNKNOWN, HTTPS) == advice.ANY_BACKEND.format(url=HTTPS.url)
    assert advice.for_store(FailureCause.UNKNOWN, FACTS) == advice.ANY_STORE.format(redis_cli=FACTS.redis_cli)


@pytest.mark.parametrize(
    ("memory", "room"),
    [(None, "256mb"), (StoreMemory(9 << 20, 10 << 20, ""), "20mb"), (StoreMemory(3_000_000, 1, ""), "6mb")],
)
def test_a_full_store_gets_twice_what_it_needs(memory: StoreMemory | None, room: str) -> None:
    text = advice.for_store(FailureCause.FULL, CommandFacts(memory=memory))
    assert f"config set maxmemory {room}`" in text
