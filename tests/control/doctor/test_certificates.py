from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from devtools.certificates import Authority, in_days
from lbflask.config.certificates import CertificateFile
from lbflask.control.api.models import Finding, Level
from lbflask.control.doctor.certificates import (
    CertificateFacts,
    backend_certificate_findings,
    certificate_findings,
)
from lbflask.core.failure_causes import FailureCause
from lbflask.core.fleet_stats import WorkerIdentity, WorkerReport
from lbflask.core.model import ActiveHealth, Health
from lbflask.store.ports import Beat
from tests.control.servers import Counter
from tests.support.pool_routes import with_routes
from tests.support.pools import backend

DAY = 86_400.0
NOW = 1_700_000_000.0


def file(days: float, setting: str = "tls.certificate") -> CertificateFile:
    return CertificateFile(setting, "/etc/x.pem", NOW + days * DAY)


def facts(*in_use: CertificateFile, on_disk: tuple[CertificateFile, ...] | None = None) -> CertificateFacts:
    return CertificateFacts(in_use, in_use if on_disk is None else on_disk, lambda _: None, NOW)


def test_valid_certificates_are_one_good_finding_with_the_next_date() -> None:
    (finding,) = certificate_findings(facts(file(60), file(90, "backend_tls.ca_file")))
    assert finding.level is Level.GOOD
    assert finding.finding == "valid, the first one (tls.certificate) until 2024-01-13"
    assert list(certificate_findings(facts())) == []


@pytest.mark.parametrize("setting", ["tls.certificate", "backend_tls.certificate", "backend_tls.ca_file"])
def test_an_expired_one_is_bad_and_one_that_will_expire_is_a_warning(setting: str) -> None:
    (expired,) = certificate_findings(facts(file(-1, setting)))
    assert (expired.check, expired.level) == (setting, Level.BAD)
    assert "/etc/x.pem expired 24 hours ago, at 2023-11-13 22:13 UTC" in expired.finding
    (soon,) = certificate_findings(facts(file(13, setting)))
    assert (soon.level, "expires in 13 days" in soon.finding) == (Level.WARNING, True)
    remedy = "loaded within seconds" if setting.startswith("tls.") else "`lbflask reload`"
    assert all(remedy in finding.advice for finding in (expired, soon))


def test_a_file_that_has_changed_and_cannot_be_used_is_bad_while_its_certificate_is_valid() -> None:
    broken = CertificateFile("tls.certificates[1].cert", "/etc/y.pem", NOW + 60 * DAY, "there is no certificate")
    (finding,) = certificate_findings(facts(file(60), broken))
    assert (finding.check, finding.level) == ("tls.certificates[1].cert", Level.BAD)
    assert finding.finding.startswith(
        "/etc/y.pem has changed, and clients get the certificate from before: there is no "
    )


def test_a_renewed_file_needs_only_a_reload() -> None:
    (finding,) = certificate_findings(facts(file(-1), on_disk=(file(90),)))
    assert "its file has a newer one, valid until 2024-02-12, which is not in use" in finding.finding
    assert finding.advice == "`lbflask reload` loads the newer one"


def test_a_backend_whose_certificate_will_expire_is_named() -> None:
    counter = Counter()
    (pool,) = counter.get("/state")["pools"]
    expiries = {"one": NOW + 3 * DAY, "two": NOW + 90 * DAY, "three": NOW - DAY}
    known = CertificateFacts((), (), lambda one: expiries.get(one.id), NOW)
    backends = [backend(name) for name in (*expiries, "four")]
    view = counter.api.state().pools[0]
    assert pool["name"] == view.name
    (finding,) = backend_certificate_findings(view, backends, known)
    assert (finding.check, finding.level) == ("backend one", Level.WARNING)
    assert "its certificate expires in 3 days" in finding.finding


def test_the_certificate_that_a_checker_has_seen_is_known_before_a_worker_connects() -> None:
    counter = Counter()
    counter.check(
        **{
            "10.0.0.1_80": ActiveHealth(Health.UP, 0, "status 200", 1.5, certificate_expires=time.time() + 3 * DAY),
            "two": ActiveHealth(
                Health.DOWN, 0, "expired", 2.5, FailureCause.CERTIFICATE_EXPIRED, certificate_expires=1_700_000_000.0
            ),
        }
    )
    found = {one["check"]: one for one in counter.get("/doctor")["findings"]}
    assert found["backend 10.0.0.1:80"]["finding"].startswith("its certificate expires in 3 days, at ")
    assert found["backend two"]["advice"].startswith("renew its certificate, which was valid until 2023-11-14: ")
    health = counter.get("/pools/default/backends/two")["health"]
    assert health["certificate_expires"] == 1_700_000_000.0


def after(counts: Mapping[str, int]) -> list[Finding]:
    """The bad findings of the doctor after a worker has reported these handshakes, in each of two pools."""
    counter = Counter(**with_routes({"pools": {"p": {"backends": ["http://b:1"]}}}))
    identity = WorkerIdentity("one", "host", 1, "v", "c")
    for pool in counter.running.pools:
        beat = Beat(report=WorkerReport(identity, counter.clock(), 10.0, handshakes=counts))
        counter.facts.beat(pool, "host:1:a", beat, read=False)
    assert counter.get("/state")["fleet"]["instances"][0]["handshakes"] == counts
    findings = [Finding.model_validate(finding) for finding in counter.get("/doctor")["findings"]]
    return [finding for finding in findings if finding.check == "TLS of one"]


def test_handshakes_that_mostly_fail_are_bad_with_their_reasons() -> None:
    (finding,) = after({"completed": 2, "client_left": 3, "certificate_expired": 7})
    assert finding.level is Level.BAD
    assert finding.finding == "10 of 12 handshakes failed in ten seconds: 7 certificate_expired, 3 client_left"
    assert "renew the certificate" in finding.advice
    (unknown,) = after({"later_reason": 3})
    assert "openssl s_client" in unknown.advice


@pytest.mark.parametrize("counts", [{}, {"completed": 9}, {"timeout": 2}, {"completed": 5, "timeout": 5}])
def test_a_few_failures_are_none(counts: dict[str, int]) -> None:
    assert after(counts) == []


def test_the_doctor_looks_at_the_files_again(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    old, new = authority.pair("a", not_after=in_days(-1)), authority.pair("a", not_after=in_days(100))
    counter = Counter(tls={"certificate": old.certificate, "key": old.key})

    def finding() -> dict[str, str]:
        (found,) = [one for one in counter.get("/doctor")["findings"] if one["check"] == "tls.certificate"]
        return dict(found)

    assert (finding()["level"], "newer" in finding()["finding"]) == ("bad", False)
    Path(old.certificate).write_text(Path(new.certificate).read_text())
    assert "newer one" in finding()["finding"]
