"""Names that left the configuration: what stays of them, and for how long."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from lbflask.acme.last_good_copy import LastGoodCopy
from lbflask.acme.records import SealedRecords
from lbflask.acme.vault import Vault
from lbflask.checker.certificate_term import CertificateStorage, CertificateTerm
from lbflask.checker.challenge_display import ChallengeDisplay
from lbflask.checker.forgotten_certificates import ForgottenCertificates
from lbflask.checker.leadership import Leadership
from lbflask.checker.store_calls import StoreCalls
from lbflask.core.certificate_demand import FORGOTTEN_AFTER
from lbflask.core.certificate_orders import (
    MAX_ORDER_AGE,
    CertificateState,
    Challenge,
    ChallengeKind,
    IssuedCertificate,
    NameState,
    PendingOrder,
)
from lbflask.core.certificate_renewal import OrderAttempts, Period
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import FLEET

NOW, DAY = 1_800_000_000.0, 86_400.0
LISTED, GONE = "shop.example", "gone.example"
HERE = "https://ca.test/dir"
VALID = IssuedCertificate("chain", "key", Period(NOW, NOW + 90 * DAY), HERE)
SHOWN = Challenge(ChallengeKind.DNS, GONE, "token", "token.thumbprint")
PENDING = NameState(
    order=PendingOrder("https://ca.test/order/1", "key", HERE, NOW, SHOWN), attempts=OrderAttempts((NOW,))
)


class Clock:
    """In place of the leadership: the time by the store's clock."""

    def __init__(self) -> None:
        self.now = NOW

    def store_time(self) -> float:
        return self.now


class Display:
    """Notes what is withdrawn."""

    def __init__(self) -> None:
        self.withdrawn: list[Challenge | None] = []

    async def withdraw(self, order: PendingOrder) -> None:
        self.withdrawn.append(order.challenge)


class Rig:
    def __init__(self, directory: Path) -> None:
        self.clock, self.display = Clock(), Display()
        self.store = MemoryStore(lambda: self.clock.now)
        self.records = SealedRecords(Vault(["a key of tests with 32 characters"], "test"))
        self.storage = CertificateStorage(self.records, LastGoodCopy(directory))

    def after(self, seconds: float, **names: NameState) -> CertificateState:
        """What the store has after a leader with these names has looked at them, so many seconds later."""

        async def lead() -> None:
            call = StoreCalls(1)
            lease = self.store.hold_lease(FLEET, "a", 600)
            assert lease is not None
            term = CertificateTerm(lease.epoch, self.store, call, self.storage, cast(Leadership, self.clock))
            for name, state in names.items():
                await term.set_name(f"{name}.example", state)
            self.clock.now += seconds
            display = cast(ChallengeDisplay, self.display)
            await ForgottenCertificates(term, display, {LISTED}.__contains__).forget()
            call.close()

        asyncio.run(lead())
        found = self.store.read_certificates(-1)
        assert found is not None
        return self.records.state(found.records)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_a_listed_name_stays_whatever_it_has(rig: Rig) -> None:
    assert rig.after(1000 * DAY, shop=NameState(VALID)).names == {LISTED: NameState(VALID)}


def test_a_certificate_stays_while_it_is_valid(rig: Rig) -> None:
    assert GONE in rig.after(89 * DAY, gone=NameState(VALID)).names


def test_a_certificate_that_has_expired_goes(rig: Rig) -> None:
    assert rig.after(90 * DAY, gone=NameState(VALID), shop=NameState(VALID)).names.keys() == {LISTED}


def test_an_order_goes_on_for_an_hour_and_is_withdrawn_then(rig: Rig) -> None:
    state = rig.after(MAX_ORDER_AGE, gone=PENDING)
    assert state.names[GONE].order == PENDING.order
    assert rig.display.withdrawn == []
    state = rig.after(2.0, gone=PENDING)
    assert state.names[GONE] == replace(PENDING, order=None)
    assert rig.display.withdrawn == [SHOWN]


def test_attempts_go_after_a_day(rig: Rig) -> None:
    assert GONE not in rig.after(FORGOTTEN_AFTER, gone=NameState(attempts=OrderAttempts((NOW,), 1, "refused"))).names
