"""An expired certificate of a listener is named by each surface, and the remedy in the advice ends the incident."""

from __future__ import annotations

import json
import socket
import ssl
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from devtools.certificates import Authority, in_days
from devtools.scripted_backend import ScriptedBackend
from devtools.servers import Gunicorn, get
from devtools.wait import eventually
from lbflask.cli import main
from tests.e2e.test_transports import naming

pytestmark = pytest.mark.e2e

DAY = 86_400.0


def handshake(port: int, trust: ssl.SSLContext) -> bool:
    """Whether a client that verifies the certificate gets a connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        try:
            with trust.wrap_socket(plain, server_hostname="127.0.0.1"):
                return True
        except ssl.SSLCertVerificationError:
            return False


def findings(balancer: Gunicorn) -> dict[str, dict[str, str]]:
    return {one["check"]: one for one in json.loads(get(balancer.admin_port, "/api/v1/doctor").body)["findings"]}


def metrics(balancer: Gunicorn, name: str) -> dict[str, float]:
    lines = get(balancer.admin_port, "/metrics").body.decode().splitlines()
    found = (
        line.removeprefix(f"lbflask_{name}").rpartition(" ") for line in lines if line.startswith(f"lbflask_{name}")
    )
    return {labels: float(value) for labels, _, value in found}


@pytest.mark.thorough
def test_a_worker_class_with_tls_on_the_admin_listener_is_named(redis_url: str, tmp_path: Path) -> None:
    pair = Authority(tmp_path).pair("127.0.0.1")
    with Gunicorn(
        "-k", "gthread", workers=1, backends="http://127.0.0.1:9", redis_url=redis_url,
        tls__certificate=pair.certificate, tls__key=pair.key, wait=False,
    ) as balancer:  # fmt: skip
        address = f"127.0.0.1:{balancer.admin_port}"
        eventually(lambda: "Booting worker" in balancer.output, "it has started")
        assert f"https://{address} " in balancer.output
        assert f"admin_bind = '{address}' has TLS, as all listeners of this worker class" in balancer.output
        result = CliRunner().invoke(main, ["status", "--url", f"http://{address}"])
        assert result.exit_code == 3
        assert result.output.startswith(f"lbflask: no answer from http://{address}: ")
        assert "; a listener with TLS needs --url https://…" in result.output


def test_an_expired_certificate_is_named_and_a_renewed_one_ends_it(redis_url: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair, renewed = (
        authority.pair("127.0.0.1", not_after=in_days(-2)),
        authority.pair("127.0.0.1", not_after=in_days(60)),
    )
    with (
        ScriptedBackend(naming(b"b"), tls=authority.server("127.0.0.1", not_after=in_days(3))) as backend,
        Gunicorn(
            workers=1, backends=backend.url, redis_url=redis_url, tls__certificate=pair.certificate, tls__key=pair.key,
            backend_tls__ca_file=authority.ca_file,
        ) as balancer,
    ):  # fmt: skip
        said = balancer.output
        assert f"Listening at: https://127.0.0.1:{balancer.port},http://127.0.0.1:{balancer.admin_port} " in said
        assert f"tls.certificate = {pair.certificate!r}: the certificate expired 2 days ago" in said
        assert not any(handshake(balancer.port, authority.trust()) for _ in range(5))
        (tls,) = eventually(
            lambda: [one for check, one in findings(balancer).items() if check.startswith("TLS of ")], "it is named"
        )
        assert tls["level"] == "bad"
        assert tls["finding"] == "5 of 5 handshakes failed in ten seconds: 5 certificate_expired"
        found = findings(balancer)
        assert (found["tls.certificate"]["level"], "loaded within seconds" in tls["advice"]) == ("bad", True)
        assert "its certificate expires in 3 days" in next(
            one["finding"] for one in found.values() if "its certificate" in one["finding"]
        )
        eventually(
            lambda: metrics(balancer, "tls_handshakes_failed_total") == {'{reason="certificate_expired"}': 5}, "counted"
        )
        expiries = metrics(balancer, "certificate_expiry_timestamp_seconds")
        assert expiries['{certificate="tls.certificate"}'] == pytest.approx(time.time() - 2 * DAY, abs=DAY / 2)
        (of_backend,) = metrics(balancer, "backend_certificate_expiry_timestamp_seconds").values()
        assert of_backend == pytest.approx(time.time() + 3 * DAY, abs=DAY / 2)

        Path(pair.certificate).write_text(Path(renewed.certificate).read_text())
        Path(pair.key).write_text(Path(renewed.key).read_text())
        workers = balancer.workers()
        eventually(lambda: handshake(balancer.port, authority.trust()), "clients accept the new one, without a reload")
        reload = get(balancer.admin_port, "/api/v1/reload", "POST")
        assert json.loads(reload.body)["warnings"] == []
        assert balancer.workers() == workers
        eventually(lambda: "certificates" in findings(balancer), "the doctor finds it valid")
