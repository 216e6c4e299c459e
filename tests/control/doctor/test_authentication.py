"""Findings about services that authenticate requests."""

from __future__ import annotations

from lbflask.control.api.models import Level
from lbflask.control.doctor.authentication import authentication_findings
from lbflask.control.doctor.findings import AuthTrouble


def test_a_service_that_is_down_is_named_with_what_follows() -> None:
    down = AuthTrouble("auth.forward.url", "http://auth:4180", "connection refused", refuses=True)
    stale = AuthTrouble("auth.jwt.jwks", "https://login.example/keys", "it responded 500", refuses=False)
    first, second = authentication_findings([down, stale])
    assert (first.level, second.level) == (Level.BAD, Level.WARNING)
    assert first.finding == "auth.forward.url: http://auth:4180: connection refused; requests that need it get 503"
    assert "the last keys count" in second.finding
    assert "`auth.jwt.jwks`" in second.advice
    assert list(authentication_findings([])) == []
