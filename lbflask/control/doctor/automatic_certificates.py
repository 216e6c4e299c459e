"""Findings about certificates that an authority issues by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lbflask.config.certificates import expiry_text
from lbflask.control.api.models import Finding
from lbflask.control.doctor.findings import bad, good, warning
from lbflask.core.certificate_demand import MAX_DEMANDED, DemandRule, demanded_names
from lbflask.core.certificate_orders import CertificateState, NameState

_ADVICE = (
    "correct the reason: usually the name does not lead here, or ports 80 and 443 cannot be reached from the internet; "
    "the leading checker tries again by itself"
)
_HOOK_ADVICE = "run the command by hand as the checker would; the leading checker tries again by itself"
_DEMAND_ADVICE = "such names may not lead here; `tls.acme.on_demand_ask` can refuse names that are not registered"
_ORDERING = (
    "`lbflask events --kind certificate` shows its progress; nothing is ordered without a checker, or while one leads "
    "that does not have this name in its configuration"
)


def automatic_certificate_findings(names: Sequence[str], state: CertificateState, now: float) -> Iterator[Finding]:
    """Whether each of the names has a certificate, and whether its renewal works. `now` is since the epoch."""
    missing = 0
    for name in names:
        known = state.names.get(name, NameState())
        failures, reason = known.attempts.failures, known.attempts.reason
        subject = f"tls.acme:{name}"
        advice = _HOOK_ADVICE if reason.startswith("tls.acme.dns_hook") else _ADVICE
        if known.certificate is None:
            missing += 1
            if failures:
                yield bad(subject, f"there is no certificate: {_failed(failures)}: {reason}", advice)
            else:
                yield warning(subject, "there is no certificate yet; clients reject the one they get", _ORDERING)
        elif failures:
            missing += 1
            soon = expiry_text(known.certificate.validity.ends, now)
            text = f"its renewal fails: {_failed(failures)}: {reason}"
            yield bad(subject, f"it {soon}, and {text}", advice) if soon else warning(subject, text, advice)
    if names and not missing:
        yield good("automatic certificates", f"{len(names)} issued")


def demanded_certificate_findings(rule: DemandRule, state: CertificateState) -> Iterator[Finding]:
    """How many names on demand have a certificate, and one that failed to get it."""
    known = demanded_names(state, rule)
    failed = [name for name in known if state.names[name].certificate is None and state.names[name].attempts.failures]
    subject = "certificates on demand"
    if failed:
        reason = f"{failed[0]}: {state.names[failed[0]].attempts.reason}"
        yield warning(subject, f"{len(failed)} of {len(known)} names failed to get one; {reason}", _DEMAND_ADVICE)
    else:
        yield good(subject, f"{len(known)} of at most {MAX_DEMANDED} names")


def _failed(failures: int) -> str:
    return "an order failed" if failures == 1 else f"{failures} orders in a row failed"
