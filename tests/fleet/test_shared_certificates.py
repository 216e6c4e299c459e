from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import pytest

from devtools.wait import eventually
from lbflask.core.certificate_orders import (
    CertificateState,
    Challenge,
    ChallengeKind,
    IssuedCertificate,
    NameState,
    PendingOrder,
)
from lbflask.core.certificate_renewal import Period
from lbflask.fleet import shared_certificates
from lbflask.fleet.shared_certificates import SharedCertificates
from lbflask.store.memory import MemoryStore
from lbflask.store.ports import FLEET, CertificateRecords, StoreUnavailable


class Copy:
    """A copy in memory, which may refuse to be written."""

    def __init__(self, records: Mapping[str, bytes]) -> None:
        self.records = dict(records)
        self.writes = 0
        self.fails = False

    def read(self) -> dict[str, bytes]:
        return dict(self.records)

    def write(self, records: Mapping[str, bytes]) -> None:
        if self.fails:
            raise OSError("disk full")
        self.writes += 1
        self.records = dict(records)


class LostStore(MemoryStore):
    """A store that can be out of reach."""

    lost = False

    def read_certificates(self, known: int) -> CertificateRecords | None:
        if self.lost:
            raise StoreUnavailable("down")
        return super().read_certificates(known)


def certificate(chain: str) -> bytes:
    return json.dumps({"chain": chain}).encode()


def challenge(token: str) -> bytes:
    return json.dumps({"token": token}).encode()


def parse(records: Mapping[str, bytes]) -> CertificateState:
    """Records of tests: unsealed, and with what these tests need only."""
    names: dict[str, NameState] = {}
    for field, record in records.items():
        kind, _, name = field.partition(":")
        values, state = json.loads(record), names.get(name, NameState())
        if kind == "certificate":
            names[name] = NameState(IssuedCertificate(values["chain"], "", Period(0, 4_000_000_000), ""), state.order)
        if kind == "order":
            shown = Challenge(ChallengeKind.HTTP, name, values["token"], values["token"] + ".thumb")
            names[name] = NameState(state.certificate, PendingOrder("", "", "", 0.0, shown))
    return CertificateState(None, names)


class Rig:
    def __init__(self, copied: Mapping[str, bytes]) -> None:
        self.store = LostStore(lambda: 1_800_000_000.0)
        self.copy = Copy(copied)
        self.changes: list[CertificateState] = []
        self.shared = SharedCertificates(self.store, self.copy, parse, self.changes.append)
        lease = self.store.hold_lease(FLEET, "a", 600)
        assert lease is not None
        self.epoch = lease.epoch

    def write(self, **records: bytes) -> None:
        written = {name.replace("_", ":") + ".example": record for name, record in records.items()}
        assert self.store.write_certificates(self.epoch, written)

    def chains(self) -> dict[str, str]:
        names = self.shared.state.names
        return {name: state.certificate.chain for name, state in names.items() if state.certificate is not None}


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig({"certificate:a.example": certificate("copied")})
    yield rig
    rig.shared.stop()


def test_the_copy_serves_until_the_store_is_read(rig: Rig) -> None:
    assert rig.chains() == {"a.example": "copied"}
    rig.write(certificate_a=certificate("stored"), certificate_b=certificate("other"))
    rig.shared.refresh()
    assert rig.chains() == {"a.example": "stored", "b.example": "other"}
    assert rig.changes == [rig.shared.state]


def test_without_a_change_nothing_happens(rig: Rig) -> None:
    rig.write(certificate_a=certificate("stored"))
    for _ in range(3):
        rig.shared.refresh()
    assert len(rig.changes) == 1
    assert rig.copy.writes == 1


def test_a_store_that_has_lost_all_takes_nothing_away(rig: Rig) -> None:
    rig.write(certificate_a=certificate("stored"))
    rig.shared.refresh()
    rig.store.empty()
    rig.shared.refresh()
    assert rig.chains() == {"a.example": "stored"}
    assert rig.copy.records == {"certificate:a.example": certificate("stored")}


def test_tokens_are_those_of_pending_orders_and_are_not_copied(rig: Rig) -> None:
    assert rig.shared.authorization("t") is None
    rig.write(order_a=challenge("t"))
    rig.shared.refresh()
    assert rig.shared.authorization("t") == "t.thumb"
    assert rig.shared.authorization("") is rig.shared.authorization("other") is None
    assert not any(name.startswith("order") for name in rig.copy.records)
    rig.write(order_a=b"", certificate_a=certificate("new"))
    rig.shared.refresh()
    assert rig.shared.authorization("t") is None


def test_a_copy_that_cannot_be_written_is_logged_once_and_written_later(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.copy.fails = True
    for chain in ("one", "two"):
        rig.write(certificate_a=certificate(chain))
        rig.shared.refresh()
    assert len(caplog.messages) == 1
    assert "disk full" in caplog.text
    rig.copy.fails = False
    rig.write(certificate_b=certificate("three"))
    rig.shared.refresh()
    assert rig.copy.records == {
        "certificate:a.example": certificate("two"),
        "certificate:b.example": certificate("three"),
    }


def test_it_follows_messages_and_comes_back_to_a_lost_store(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_certificates, "POLL_EVERY", 600.0)
    monkeypatch.setattr(shared_certificates, "RETRY_EVERY", 0.01)
    rig.store.lost = True
    rig.shared.start()
    assert rig.chains() == {"a.example": "copied"}
    rig.store.lost = False
    rig.write(certificate_a=certificate("one"))
    eventually(lambda: rig.chains() == {"a.example": "one"}, "it has read the store again")
    rig.write(certificate_a=certificate("two"))
    eventually(lambda: rig.chains() == {"a.example": "two"}, "a message arrives")
