from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.acme.records import ACCOUNT, ATTEMPTS, CERTIFICATE, MAX_REASON, ORDER, SealedRecords
from lbflask.acme.vault import Vault
from lbflask.core.certificate_orders import (
    CertificateAccount,
    CertificateState,
    Challenge,
    ChallengeKind,
    IssuedCertificate,
    NameState,
    PendingOrder,
)
from lbflask.core.certificate_renewal import OrderAttempts, Period

NAME, HERE = "shop.example", "https://ca.test/dir"
VAULT = Vault(("a key of the operator's, for tests only",), "fleet")
RECORDS = SealedRecords(VAULT)
STATE = NameState(
    IssuedCertificate("chain", "key", Period(1.5, 2.5), HERE, Period(2.0, 2.25)),
    PendingOrder("https://ca.test/1", "key", HERE, 1.25, Challenge(ChallengeKind.HTTP, NAME, "t", "t.thumb")),
    OrderAttempts((1.0, 2.0), 3, "refused", 4.0),
)
WHOLE = CertificateState(CertificateAccount(HERE, "https://ca.test/a", "key"), {NAME: STATE})


def sealed(state: CertificateState) -> dict[str, bytes]:
    found = {} if state.account is None else {ACCOUNT: RECORDS.account(state.account)}
    for name, one in state.names.items():
        if one.certificate is not None:
            found[CERTIFICATE + name] = RECORDS.certificate(name, one.certificate)
        if one.order is not None:
            found[ORDER + name] = RECORDS.order(name, one.order)
        found[ATTEMPTS + name] = RECORDS.attempts(name, one.attempts)
    return found


def test_what_is_written_is_read() -> None:
    assert RECORDS.state(sealed(WHOLE)) == WHOLE
    bare = CertificateState(
        None,
        {
            "a.example": NameState(IssuedCertificate("c", "k", Period(1, 2), HERE)),
            "b.example": NameState(None, PendingOrder("https://ca.test/2", "k", HERE, 1.0)),
        },
    )
    assert RECORDS.state(sealed(bare)) == bare


def test_nothing_is_known_of_no_records() -> None:
    assert RECORDS.state({}) == CertificateState()


def test_records_of_other_names_and_kinds_are_ignored() -> None:
    records = sealed(WHOLE)
    assert (
        RECORDS.state({**records, "what": b"", "other:shop.example": b"", "order:": b"", "order:no name": b""}) == WHOLE
    )


def test_an_unreadable_record_is_ignored_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    records = SealedRecords(VAULT)
    broken = {**sealed(WHOLE), ORDER + NAME: VAULT.seal("another", b"{}")}
    for _ in range(3):
        assert records.state(broken).names[NAME] == NameState(STATE.certificate, None, STATE.attempts)
    (line,) = caplog.messages
    assert "order:shop.example" in line
    assert "another key" in line


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=5),
)
FIELDS = ["chain", "key", "validity", "directory", "window", "url", "began", "challenge", "tries", "failures", "reason"]


@given(st.sampled_from([ACCOUNT, CERTIFICATE + NAME, ORDER + NAME, ATTEMPTS + NAME]), st.data())
def test_any_content_is_read_within_bounds_or_ignored(name: str, data: st.DataObject) -> None:
    known = json.loads(VAULT.open(name, sealed(WHOLE)[name]))
    changed = known | data.draw(st.dictionaries(st.sampled_from([*FIELDS, "resumes"]), JSON, max_size=3))
    state = SealedRecords(VAULT).state({name: VAULT.seal(name, json.dumps(changed).encode())})
    attempts = state.names.get(NAME, NameState()).attempts
    assert attempts.failures >= 0
    assert len(attempts.reason) <= MAX_REASON
    assert attempts.reason.isprintable()
    for text in texts_of(state):
        assert len(text) <= 65_536


def texts_of(value: Any) -> list[str]:
    return [value.account.url, value.account.key] if value.account is not None else []


@given(st.binary(max_size=100))
def test_any_bytes_under_our_seal_are_ignored(content: bytes) -> None:
    assert SealedRecords(VAULT).state({ACCOUNT: VAULT.seal(ACCOUNT, content)}).account is None


def test_a_long_reason_is_cut() -> None:
    record = RECORDS.attempts(NAME, OrderAttempts((), 1, "x" * 10_000, 0.0))
    assert RECORDS.state({ATTEMPTS + NAME: record}).names[NAME].attempts.reason == "x" * MAX_REASON
