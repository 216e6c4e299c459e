"""Findings about names with and without a certificate of an authority."""

from __future__ import annotations

import pytest

from lbflask.control.api.models import Level
from lbflask.control.doctor.automatic_certificates import automatic_certificate_findings, demanded_certificate_findings
from lbflask.core.certificate_demand import DemandRule
from lbflask.core.certificate_orders import CertificateState, IssuedCertificate, NameState
from lbflask.core.certificate_renewal import NO_ATTEMPTS, OrderAttempts, Period

NOW, DAY = 1_800_000_000.0, 86_400.0
NAME = "shop.example"
ONCE = OrderAttempts((), 1, "x")
FAILED = OrderAttempts((), 2, "no such name", NOW + 60)


def certificate(days: float) -> IssuedCertificate:
    return IssuedCertificate("", "", Period(0, NOW + days * DAY), "")


@pytest.mark.parametrize(
    ("state", "level", "finding"),
    [
        (NameState(), Level.WARNING, "there is no certificate yet"),
        (NameState(attempts=FAILED), Level.BAD, "2 orders in a row failed: no such name"),
        (NameState(certificate(60), None, FAILED), Level.WARNING, "its renewal fails: 2 orders"),
        (NameState(certificate(5), None, FAILED), Level.BAD, "it expires in 5 days"),
        (
            NameState(certificate(-3), None, ONCE),
            Level.BAD,
            "its renewal fails: an order failed: x",
        ),
        (NameState(certificate(60), None, NO_ATTEMPTS), Level.GOOD, "1 issued"),
    ],
)
def test_each_name_has_a_finding(state: NameState, level: Level, finding: str) -> None:
    (found,) = automatic_certificate_findings([NAME], CertificateState(None, {NAME: state}), NOW)
    assert found.level is level
    assert finding in found.finding
    assert (level is Level.GOOD) == (found.advice == "")


def test_names_on_demand_have_one_finding() -> None:
    rule = DemandRule(frozenset({"*.tenants.example"}), frozenset(), 20)
    issued = {"a.tenants.example": NameState(certificate(60)), "other.example": NameState(attempts=FAILED)}
    (found,) = demanded_certificate_findings(rule, CertificateState(None, issued))
    assert (found.level, found.finding) == (Level.GOOD, "1 of at most 300 names")
    failed = {**issued, "b.tenants.example": NameState(attempts=FAILED)}
    (found,) = demanded_certificate_findings(rule, CertificateState(None, failed))
    assert found.level is Level.WARNING
    assert found.finding == "1 of 2 names failed to get one; b.tenants.example: no such name"


def test_names_that_are_not_configured_any_more_do_not_count() -> None:
    state = CertificateState(None, {"old.example": NameState(attempts=FAILED)})
    assert list(automatic_certificate_findings([], state, NOW)) == []
