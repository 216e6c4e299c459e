"""Findings about the services that authenticate requests, as the worker that answers has asked them last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lbflask.control.api.models import Finding
from lbflask.control.doctor.findings import AuthTrouble, bad, warning


def authentication_findings(troubles: Sequence[AuthTrouble]) -> Iterator[Finding]:
    """One for each service that could not be used; none if there is no trouble."""
    for setting, service, reason, refuses in troubles:
        text = f"{setting}: {service}: {reason}"
        advice = f"start this service, or correct `{setting}` and `lbflask reload`"
        if refuses:
            yield bad("authentication", f"{text}; requests that need it get 503", advice)
        else:
            yield warning("authentication", f"{text}; the last keys count until it is back", advice)
