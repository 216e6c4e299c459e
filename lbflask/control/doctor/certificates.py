"""Findings about certificates and about TLS handshakes with clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lbflask.config.certificates import CertificateFile, day, expiry_text
from lbflask.control.api.models import Finding, InstanceView, PoolView
from lbflask.control.doctor.findings import bad, good, warning
from lbflask.core.certificate_demand import DemandRule
from lbflask.core.certificate_orders import NO_CERTIFICATES, CertificateState
from lbflask.core.handshakes import Handshake
from lbflask.core.model import Backend

#: Failed handshakes of an instance, in ten seconds, from which they are a finding if they are most of them.
MIN_FAILED = 3

#: What follows from an expiry, and the remedy.
_OF_LISTENERS = (
    "new clients reject it",
    "renew the file, which is then loaded within seconds; `lbflask config check` shows its date",
)
_AUTOMATIC = (
    "new clients reject it",
    "the leading checker renews it by itself: `lbflask events --kind certificate` shows why it has not",
)
_BY_SETTING = {
    "backend_tls.certificate": (
        "backends that require it reject connections",
        "renew the file, then `lbflask reload`; `lbflask config check` shows its date",
    ),
    "backend_tls.ca_file": (
        "no backend with TLS is trusted",
        "add the new root to the file, then `lbflask reload`; checkers need it too",
    ),
}
_BY_REASON = {
    Handshake.CERTIFICATE_EXPIRED: "renew the certificate in the file of `[tls]`, which is then loaded within seconds",
    Handshake.CERTIFICATE_REJECTED: (
        "clients do not trust the certificate, or it has another name: put its chain into the file of "
        "`[tls]`; compare with `openssl s_client -connect HOST:PORT`"
    ),
    Handshake.PROTOCOL: "clients have only old versions of TLS, or no TLS: see which ones by their addresses",
    Handshake.CIPHER: "clients and the certificate have no cipher in common: check the kind of its key",
    Handshake.TIMEOUT: "clients begin and do not go on: a lossy network, or an attack; limit connections in front",
    Handshake.PLAIN_HTTP: "clients use http:// with a listener that takes https:// only: correct their URLs",
    Handshake.CLIENT_LEFT: (
        "clients hang up, as browsers do that reject a certificate: check its date, its names and its chain with "
        "`lbflask config check` and `openssl s_client -connect HOST:PORT`"
    ),
}
_OTHER = "compare with `openssl s_client -connect HOST:PORT`"


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """The certificates that this instance uses, and those that their files hold now. `of_backend` is the expiry of the
    certificate that a backend presented last to this worker, None if unknown. `automatic` is what is known of the
    certificates of the configured `names`, which an authority issues, and of those on `demand`. Times are in seconds
    since the epoch.
    """

    in_use: Sequence[CertificateFile]
    on_disk: Sequence[CertificateFile]
    of_backend: Callable[[Backend], float | None]
    now: float
    automatic: CertificateState = NO_CERTIFICATES
    names: Sequence[str] = ()
    demand: DemandRule | None = None


def certificate_findings(facts: CertificateFacts) -> Iterator[Finding]:
    """Whether the certificates of the configuration are valid, and for how long."""
    on_disk = {file.setting: file for file in facts.on_disk}
    healthy = []
    for file in facts.in_use:
        text = expiry_text(file.expires, facts.now)
        by_itself = file.setting.startswith("tls.acme:")
        usual = _AUTOMATIC if by_itself else _OF_LISTENERS
        effect, advice = _BY_SETTING.get(".".join(file.setting.split(".")[-2:]), usual)
        if file.unusable:
            yield bad(
                file.setting, f"{file.path} has changed, and clients get the certificate from before: {file.unusable}",
                "write the certificate with its chain, and its key, whole; they are then loaded within seconds",
            )  # fmt: skip
        renewed = on_disk.get(file.setting)
        if not text:
            healthy += [] if file.unusable else [file]
            continue
        if renewed is not None and renewed.expires > file.expires:
            effect += f"; its file has a newer one, valid until {day(renewed.expires)}, which is not in use"
            advice = "`lbflask reload` loads the newer one"
        if file.expires <= facts.now:
            yield bad(file.setting, f"the certificate in {file.path} {text}: {effect}", advice)
        else:
            yield warning(file.setting, f"the certificate in {file.path} {text}; then {effect}", advice)
    if facts.in_use and len(healthy) == len(facts.in_use):
        first = min(healthy, key=lambda file: file.expires)
        yield good("certificates", f"valid, the first one ({first.setting}) until {day(first.expires)}")


def backend_certificate_findings(
    pool: PoolView, backends: Sequence[Backend], facts: CertificateFacts
) -> Iterator[Finding]:
    """Whether the certificates of the backends will expire soon. An expired one is a reason why one is unreachable."""
    by_checks = {view.id: view.health.certificate_expires for view in pool.backends}
    for backend in backends:
        expires = by_checks.get(backend.id) or facts.of_backend(backend)
        if expires is None or expires <= facts.now or not (text := expiry_text(expires, facts.now)):
            continue
        yield warning(
            f"backend {backend.id}", f"its certificate {text}; then its pool {pool.name} loses it",
            "renew it at the backend; `lbflask drain` takes it out meanwhile without a failed request",
        )  # fmt: skip


def handshake_findings(instances: Sequence[InstanceView]) -> Iterator[Finding]:
    """Whether most TLS handshakes with clients fail."""
    for instance in instances:
        counts = instance.handshakes
        completed = counts.get(Handshake.COMPLETED, 0)
        failed = {reason: count for reason, count in counts.items() if reason != Handshake.COMPLETED}
        total = sum(failed.values())
        if total < MIN_FAILED or total <= completed:
            continue
        reasons = sorted(failed, key=lambda reason: (-failed[reason], reason))
        listed = ", ".join(f"{failed[reason]} {reason}" for reason in reasons)
        yield bad(
            f"TLS of {instance.name}", f"{total} of {total + completed} handshakes failed in ten seconds: {listed}",
            next((advice for reason, advice in _BY_REASON.items() if reason == reasons[0]), _OTHER),
        )  # fmt: skip
