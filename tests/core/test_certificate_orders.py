"""The steps of an order, and what the fleet knows of names."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.certificate_orders import (
    MAX_ORDER_AGE,
    AcmeStatus,
    CertificateAccount,
    CertificateState,
    Challenge,
    ChallengeKind,
    DnsRecord,
    IssuedCertificate,
    NameState,
    PendingOrder,
    Step,
    dns_record,
    due,
    is_name,
    is_read,
    is_stale,
    merged,
    next_step,
)
from lbflask.core.certificate_renewal import OrderAttempts, Period, renewal_moment

NOW = 1_800_000_000.0
DAY = 86_400.0
HERE, ELSEWHERE = "https://ca.test/dir", "https://other.test/dir"
NAME = "shop.example"
CERTIFICATE = IssuedCertificate("chain", "key", Period(NOW, NOW + 90 * DAY), HERE)
ORDER = PendingOrder("https://ca.test/order/1", "key", HERE, NOW)
FAILED = OrderAttempts((NOW,), 1, "refused", NOW + 60)
S = AcmeStatus


def shown(kind: ChallengeKind, token: str) -> NameState:
    return NameState(order=replace(ORDER, challenge=Challenge(kind, NAME, token, f"{token}.thumbprint")))


@pytest.mark.parametrize(
    ("order", "authorization", "challenge", "step"),
    [
        (S.PENDING, S.PENDING, S.PENDING, Step.SHOW),
        (S.PENDING, S.PENDING, S.PROCESSING, Step.WAIT),
        (S.PENDING, S.PENDING, S.VALID, Step.WAIT),
        (S.PENDING, S.PENDING, S.INVALID, Step.GIVE_UP),
        (S.PENDING, S.PENDING, None, Step.GIVE_UP),
        (S.PENDING, S.VALID, S.VALID, Step.WAIT),
        (S.PENDING, S.VALID, None, Step.WAIT),
        (S.PENDING, S.INVALID, S.INVALID, Step.GIVE_UP),
        (S.PENDING, None, None, Step.GIVE_UP),
        (S.READY, None, None, Step.FINALIZE),
        (S.PROCESSING, None, None, Step.WAIT),
        (S.VALID, None, None, Step.DOWNLOAD),
        (S.INVALID, None, None, Step.GIVE_UP),
    ],
)
def test_the_steps_of_an_order(
    order: AcmeStatus, authorization: AcmeStatus | None, challenge: AcmeStatus | None, step: Step
) -> None:
    assert next_step(order, authorization, challenge) is step


def test_every_combination_has_a_step_and_only_a_pending_challenge_is_shown() -> None:
    for order, authorization, challenge in product(AcmeStatus, (*AcmeStatus, None), (*AcmeStatus, None)):
        step = next_step(order, authorization, challenge)
        is_pending = (order, authorization, challenge) == (S.PENDING, S.PENDING, S.PENDING)
        assert (step is Step.SHOW) == is_pending
        assert (step is Step.DOWNLOAD) == (order is S.VALID)
        assert (step is Step.FINALIZE) == (order is S.READY)


class TestDue:
    def test_a_new_name_is_due_at_once(self) -> None:
        assert due(NAME, NameState(), HERE, NOW) == NOW

    def test_after_a_failure_it_waits(self) -> None:
        assert due(NAME, NameState(attempts=FAILED), HERE, NOW) == NOW + 60

    def test_a_pending_order_goes_on_at_once(self) -> None:
        many = OrderAttempts((NOW, NOW, NOW, NOW))
        assert due(NAME, NameState(CERTIFICATE, ORDER, many), HERE, NOW) == NOW

    def test_a_pending_order_that_failed_waits(self) -> None:
        assert due(NAME, NameState(None, ORDER, FAILED), HERE, NOW) == NOW + 60

    def test_an_order_at_another_authority_or_of_long_ago_does_not_count(self) -> None:
        for order in (replace(ORDER, directory=ELSEWHERE), replace(ORDER, began=NOW - MAX_ORDER_AGE - 1)):
            assert due(NAME, NameState(CERTIFICATE, order), HERE, NOW) == renewal_moment(NAME, CERTIFICATE.validity)

    def test_a_certificate_is_renewed_at_its_moment(self) -> None:
        state = NameState(CERTIFICATE)
        assert due(NAME, state, HERE, NOW) == renewal_moment(NAME, CERTIFICATE.validity)
        window = Period(NOW + 1, NOW + 2)
        assert NOW + 1 <= due(NAME, NameState(replace(CERTIFICATE, window=window)), HERE, NOW) <= NOW + 2
        assert due(NAME, state, HERE, NOW + 100 * DAY) == NOW + 100 * DAY

    def test_a_renewal_that_fails_waits_too(self) -> None:
        assert due(NAME, NameState(replace(CERTIFICATE, window=Period(0, 1)), None, FAILED), HERE, NOW) == NOW + 60

    def test_a_certificate_of_another_authority_is_replaced(self) -> None:
        assert due(NAME, NameState(CERTIFICATE), ELSEWHERE, NOW) == NOW


@pytest.mark.parametrize(
    ("age", "stale"),
    [
        (0, False),
        (MAX_ORDER_AGE, False),
        (MAX_ORDER_AGE + 1, True),
        (-MAX_ORDER_AGE, False),
        (-MAX_ORDER_AGE - 1, True),
    ],
)
def test_an_order_is_stale_after_an_hour_or_before_its_time(age: float, stale: bool) -> None:
    assert is_stale(ORDER, ORDER.began + age) is stale


def test_challenges_are_those_of_pending_orders_of_the_kind() -> None:
    names = {
        "a.example": shown(ChallengeKind.HTTP, "a"),
        "b.example": shown(ChallengeKind.TLS_ALPN, "b"),
        "c.example": NameState(CERTIFICATE, ORDER),
        "d.example": NameState(CERTIFICATE),
    }
    state = CertificateState(None, names)
    assert [challenge.token for challenge in state.challenges(ChallengeKind.HTTP)] == ["a"]
    assert [challenge.token for challenge in state.challenges(ChallengeKind.TLS_ALPN)] == ["b"]


def test_a_name_and_its_wildcard_are_shown_by_records_of_one_name() -> None:
    # The value is that of `printf token.thumbprint | openssl dgst -sha256 -binary | basenc --base64url`.
    for name in (NAME, f"*.{NAME}"):
        record = dns_record(Challenge(ChallengeKind.DNS, name, "token", "token.thumbprint"))
        assert record == DnsRecord(f"_acme-challenge.{NAME}", "61rBZ_4knHblO0MNoxFsXZ_eTFUHum0B6IVRbhvUn5I")


class TestMerge:
    ACCOUNT = CertificateAccount(HERE, "https://ca.test/account/1", "key")

    def test_what_was_read_later_counts(self) -> None:
        newer = replace(CERTIFICATE, chain="newer")
        before = CertificateState(None, {NAME: NameState(CERTIFICATE, ORDER, FAILED)})
        after = CertificateState(self.ACCOUNT, {NAME: NameState(newer)})
        assert merged(before, after, NOW) == after

    def test_a_certificate_is_kept_that_the_store_has_lost(self) -> None:
        before = CertificateState(
            None, {NAME: NameState(CERTIFICATE, ORDER, FAILED), "b.example": NameState(None, ORDER)}
        )
        assert merged(before, CertificateState(), NOW).names == {NAME: NameState(CERTIFICATE)}
        assert merged(before, CertificateState(), CERTIFICATE.validity.ends).names == {}
        pending = CertificateState(None, {NAME: NameState(None, ORDER, FAILED)})
        assert merged(before, pending, NOW).names == {NAME: NameState(CERTIFICATE, ORDER, FAILED)}


def test_an_account_and_a_certificate_are_read_or_not() -> None:
    state = CertificateState(TestMerge.ACCOUNT, {NAME: NameState(CERTIFICATE), "b.example": NameState(None, ORDER)})
    assert is_read("account", state)
    assert is_read(f"certificate:{NAME}", state)
    assert not is_read("account", CertificateState())
    assert not is_read("certificate:b.example", state)
    assert not is_read("certificate:c.example", state)
    assert is_read("attempts:c.example", state)


@pytest.mark.parametrize(
    "name",
    [
        "shop.example",
        "a.b",
        "xn--bcher-kva.example",
        "a_b.example",
        "*.shop.example",
        "1.example",
        "a" * 63 + ".example",
    ],
)
def test_names(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "example", "shop..example", ".example", "shop.example.", "Shop.example", "-a.example", "a-.example", "*"),
        *("**.a.b", "*.example", "a.*.example", "127.0.0.1", "[::1]", "größe.example", "a b.example", "a/b.example"),
        *("a:b.example", "a" * 64 + ".example", ".".join(["a" * 49] * 5) + ".exam", "shop.example\n", "_.example"),
        "\u0663.example",
    ],
)
def test_what_is_no_name(name: str) -> None:
    assert not is_name(name)


@given(st.text(max_size=300))
def test_any_text_is_judged_and_no_name_has_other_characters(text: str) -> None:
    if is_name(text):
        assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.*")


def test_private_keys_are_not_shown() -> None:
    for secret in (
        replace(CERTIFICATE, key="SECRET"),
        replace(ORDER, key="SECRET"),
        replace(TestMerge.ACCOUNT, key="SECRET"),
    ):
        assert "SECRET" not in repr(secret)
        assert "SECRET" not in repr(NameState(CERTIFICATE, ORDER))
