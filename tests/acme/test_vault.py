from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.acme.vault import Unreadable, Vault

OLD, NEW = "an old key of the operator's, for tests", "a new key of the operator's, for tests"
VAULT = Vault((NEW, OLD), "fleet")


@given(st.text(max_size=50), st.binary(max_size=1000))
def test_what_is_sealed_is_opened_by_its_name(name: str, content: bytes) -> None:
    record = VAULT.seal(name, content)
    assert VAULT.open(name, record) == content
    assert record.decode("ascii").isprintable()
    assert len(content) < 8 or content not in record


def test_each_record_has_its_nonce() -> None:
    assert VAULT.seal("a", b"same") != VAULT.seal("a", b"same")


def test_a_key_is_replaced_by_one_before_it() -> None:
    record = Vault((OLD,), "fleet").seal("a", b"text")
    assert VAULT.open("a", record) == b"text"
    with pytest.raises(Unreadable, match="another key"):
        Vault((OLD,), "fleet").open("a", VAULT.seal("a", b"text"))


@pytest.mark.parametrize(("name", "namespace"), [("b", "fleet"), ("a", "other")])
def test_a_record_of_another_name_or_fleet_is_refused(name: str, namespace: str) -> None:
    with pytest.raises(Unreadable, match="another key"):
        Vault((NEW,), namespace).open(name, VAULT.seal("a", b"text"))


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(record: bytes) -> None:
    with pytest.raises(Unreadable):
        VAULT.open("a", record)


@given(st.integers(0, 60), st.integers(1, 255))
def test_a_changed_record_is_refused(at: int, change: int) -> None:
    record = bytearray(VAULT.seal("a", b"a text of some length"))
    record[at % len(record)] ^= change
    try:
        assert VAULT.open("a", bytes(record)) == b"a text of some length"  # unused bits of base64's last character
    except Unreadable:
        return


def test_keys_are_not_shown() -> None:
    assert repr(VAULT) == "<Vault of fleet, 2 keys>"
