"""Names that clients ask for, on their way to the store."""

from __future__ import annotations

from collections.abc import Collection

from lbflask.core.certificate_demand import DemandRule
from lbflask.fleet import certificate_wishes
from lbflask.fleet.certificate_wishes import CertificateWishes
from lbflask.store.ports import StoreUnavailable

RULE = DemandRule(frozenset({"*.tenants.example"}), frozenset(), 3)


class Rig:
    def __init__(self) -> None:
        self.wished: list[str] = []
        self.asked: list[str] = []
        self.refused: set[str] = set()
        self.is_lost = False
        self.now = 100.0
        self.wishes = CertificateWishes(self, RULE, self.permits, lambda: self.now)

    def wish_certificates(self, names: Collection[str]) -> None:
        if self.is_lost:
            raise StoreUnavailable("down")
        self.wished += names

    def permits(self, name: str) -> bool:
        self.asked.append(name)
        return name not in self.refused

    def ask(self, *names: str) -> None:
        for name in names:
            self.wishes.add(name)
        self.wishes.pass_on()


def test_a_name_is_passed_on_once_until_some_time_later() -> None:
    rig = Rig()
    rig.ask("A.Tenants.Example.", "a.tenants.example")
    rig.ask("a.tenants.example")
    assert rig.wished == ["a.tenants.example"]
    rig.now += certificate_wishes.PAUSE_AFTER_WISH
    rig.ask("a.tenants.example")
    assert rig.wished == ["a.tenants.example"] * 2


def test_a_name_that_does_not_match_leaves_no_trace() -> None:
    rig = Rig()
    rig.ask("tenants.example", "a.b.tenants.example", "*.tenants.example", "a" * 300, "", "x.example")
    assert (rig.asked, rig.wished) == ([], [])


def test_a_name_that_is_refused_is_not_passed_on_and_not_asked_for_again_soon() -> None:
    rig = Rig()
    rig.refused = {"a.tenants.example"}
    rig.ask("a.tenants.example")
    rig.now += certificate_wishes.PAUSE_AFTER_REFUSAL - 1
    rig.ask("a.tenants.example")
    assert (rig.asked, rig.wished) == (["a.tenants.example"], [])
    rig.now += 1
    rig.refused = set()
    rig.ask("a.tenants.example")
    assert rig.wished == ["a.tenants.example"]


def test_names_wait_for_their_turn_and_only_so_many_wait() -> None:
    rig = Rig()
    rig.ask(*(f"t{number}.tenants.example" for number in range(1000)))
    assert len(rig.wished) == certificate_wishes.BATCH
    for _ in range(100):
        rig.wishes.pass_on()
    assert len(rig.wished) == certificate_wishes.MAX_WAITING


def test_names_are_remembered_up_to_a_limit_the_oldest_are_dropped() -> None:
    rig = Rig()
    most = certificate_wishes.MAX_REMEMBERED
    for number in range(most + 1):
        rig.ask(f"t{number}.tenants.example")
    rig.ask(f"t{most}.tenants.example")
    assert len(rig.wished) == most + 1
    rig.ask("t0.tenants.example")
    assert rig.wished[-1] == "t0.tenants.example"


def test_without_the_store_the_next_handshake_tries_again() -> None:
    rig = Rig()
    rig.is_lost = True
    rig.ask("a.tenants.example")
    rig.is_lost = False
    rig.wishes.pass_on()
    assert rig.wished == []
    rig.ask("a.tenants.example")
    assert rig.wished == ["a.tenants.example"]
