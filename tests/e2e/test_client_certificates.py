"""Clients that identify themselves by certificates: who is let in, what backends get, and changes of the files."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from devtools.certificates import Authority
from devtools.ports import free_port
from devtools.raw_client import RawClient, RawResponse
from devtools.scripted_backend import ScriptedBackend
from devtools.servers import Gunicorn, get
from devtools.wait import eventually
from tests.e2e.test_transports import naming

pytestmark = pytest.mark.e2e

FORGED = b"Client-Cert: :Zm9yZ2Vk:\r\nClient-Cert-Chain: :Zm9yZ2Vk:\r\nclient_cert: :Zm9yZ2Vk:\r\n"


class Issuer:
    """An authority of clients, its list of revoked certificates, and a client's certificate."""

    def __init__(self, directory: Path, name: str) -> None:
        self.ca = trustme.CA(organization_name=name)
        self.client = self.ca.issue_cert(f"{name}@example.org", common_name="app")
        self.file = directory / f"{name}.pem"
        self.client.private_key_and_cert_chain_pem.write_to_path(str(self.file))
        self.der = ssl.PEM_cert_to_DER_cert(self.client.cert_chain_pems[0].bytes().decode())

    def pem(self) -> bytes:
        return bytes(self.ca.cert_pem.bytes())

    def revoked(self, *certificates: bytes) -> bytes:
        """The list with these certificates, in PEM form."""
        issuer = x509.load_pem_x509_certificate(self.pem())
        now = datetime.now(UTC)
        made = x509.CertificateRevocationListBuilder(issuer.subject, now - timedelta(days=1), now + timedelta(days=1))
        for der in certificates:
            serial = x509.load_der_x509_certificate(der).serial_number
            entry = x509.RevokedCertificateBuilder(serial, now - timedelta(hours=1)).build()
            made = made.add_revoked_certificate(entry)
        key = serialization.load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]


class Balancer(Gunicorn):
    """gunicorn with a listener for each way of asking, and one that does not ask."""

    def __init__(self, directory: Path, store: str, backend: str) -> None:
        self.authority = Authority(directory)
        pair = self.authority.pair("localhost")
        self.ours, self.others = Issuer(directory, "ours"), Issuer(directory, "others")
        self.ca_file, self.crl_file = directory / "clients.pem", directory / "clients.crl"
        self.ca_file.write_bytes(self.ours.pem())
        self.crl_file.write_bytes(self.ours.revoked())
        self.required, self.optional, self.silent = free_port(), free_port(), free_port()
        asking = "".join(
            f"[[listeners]]\nbind = '127.0.0.1:{port}'\ntls = true\nclient_certificates = '{mode}'\n"
            f"client_ca = '{self.ca_file}'\nclient_crl = '{self.crl_file}'\n"
            for port, mode in ((self.required, "required"), (self.optional, "optional"))
        )
        file = directory / "lbflask.toml"
        file.write_text(
            f"redis_url = '{store}'\nbackends = '{backend}'\n{asking}"
            f"[[listeners]]\nbind = '127.0.0.1:{self.silent}'\ntls = true\n"
            f"[tls]\ncertificate = '{pair.certificate}'\nkey = '{pair.key}'\n"
            "[[routes]]\nmatch = { path = '/private' }\npool = 'default'\nclient_certificate = true\n"
            "[[routes]]\npool = 'default'\nrequest_headers = { set = { X-Subject = '{tls.client_subject}' } }\n"
        )
        super().__init__(workers=1, config=file, bind=None)

    def context(self, issuer: Issuer | None) -> ssl.SSLContext:
        context = self.authority.trust()
        if issuer is not None:
            context.load_cert_chain(issuer.file)
        return context

    def get(self, port: int, path: str, issuer: Issuer | None = None, version: str = "TLSv1_3") -> RawResponse:
        """By TLS, with forged fields. Raises ssl.SSLError."""
        context = self.context(issuer)
        context.maximum_version = ssl.TLSVersion[version]
        with RawClient(port) as client:
            client.sock = context.wrap_socket(client.sock, server_hostname="localhost", suppress_ragged_eofs=False)
            client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n".encode() + FORGED + b"\r\n")
            return client.answer()

    def refuses(self, issuer: Issuer | None, version: str = "TLSv1_3") -> str:
        """The reason that the client of the required listener learns; empty if it is let in."""
        try:
            self.get(self.required, "/refused", issuer, version)
        except ssl.SSLError as error:
            return str(error.reason)
        return ""

    def failed(self) -> float:
        """The handshakes that failed for the certificate of the client."""
        page = get(self.admin_port, "/metrics").body.decode()
        lines = [line for line in page.splitlines() if 'handshakes_failed_total{reason="client_certificate"}' in line]
        return float(lines[0].rpartition(" ")[2]) if lines else 0.0


@pytest.fixture(scope="module")
def backend() -> Iterator[ScriptedBackend]:
    with ScriptedBackend(naming(b"b")) as running:
        yield running


@pytest.fixture
def balancer(store: str, backend: ScriptedBackend, tmp_path: Path) -> Iterator[Balancer]:
    with Balancer(tmp_path, store, backend.url) as running:
        yield running
        running.assert_no_traceback()
        assert running.stop() == 0


def received(backend: ScriptedBackend, path: str) -> bytes:
    return backend.received.partition(b"GET " + path.encode() + b" ")[2].partition(b"\r\n\r\n")[0]


def certificate_of(head: bytes) -> bytes:
    (value,) = [line for line in head.split(b"\r\n") if line.lower().startswith(b"client-cert:")]
    return base64.b64decode(value.partition(b": ")[2].strip(b":"))


def test_backends_get_the_certificate_of_the_client_and_no_forged_one(
    balancer: Balancer, backend: ScriptedBackend
) -> None:
    for port, path in ((balancer.required, "/required"), (balancer.optional, "/optional")):
        assert balancer.get(port, path, balancer.ours).status == 200
        head = received(backend, path)
        assert certificate_of(head) == balancer.ours.der
        assert head.lower().count(b"client-cert-chain: :") == 1
        assert b"Zm9yZ2Vk" not in head
        assert b"\r\nX-Subject: CN=app" in head
    for port, path in ((balancer.optional, "/without"), (balancer.silent, "/silent")):
        assert balancer.get(port, path).status == 200
        assert b"client-cert" not in received(backend, path).lower()


def test_a_route_is_for_clients_with_a_certificate_only(balancer: Balancer, backend: ScriptedBackend) -> None:
    assert balancer.get(balancer.optional, "/private").status == 403
    assert balancer.get(balancer.silent, "/private", balancer.ours).status == 403
    assert balancer.get(balancer.optional, "/private", balancer.ours).status == 200


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.sampled(2, 1)
def test_a_client_without_a_valid_certificate_learns_the_reason(balancer: Balancer, version: str) -> None:
    assert "ALERT" in balancer.refuses(None, version)
    assert "UNKNOWN_CA" in balancer.refuses(balancer.others, version)
    assert balancer.refuses(balancer.ours, version) == ""
    eventually(lambda: balancer.failed() == 2, "both are counted")


def test_authorities_and_revocations_change_without_new_workers(balancer: Balancer) -> None:
    workers = balancer.workers()
    balancer.crl_file.write_bytes(balancer.ours.revoked(balancer.ours.der))
    eventually(lambda: "REVOKED" in balancer.refuses(balancer.ours), "the certificate is revoked")
    balancer.ca_file.write_bytes(b"no certificate")
    eventually(lambda: "from before stay in use" in balancer.output, "the log has it")
    assert "REVOKED" in balancer.refuses(balancer.ours)
    balancer.crl_file.write_bytes(balancer.others.revoked())
    balancer.ca_file.write_bytes(balancer.others.pem())
    eventually(lambda: balancer.refuses(balancer.others) == "", "the other authority is trusted")
    assert "ALERT" in balancer.refuses(balancer.ours)
    assert balancer.workers() == workers


@pytest.mark.long
def test_sessions_are_not_resumed(balancer: Balancer) -> None:
    context = balancer.context(balancer.ours)
    session: ssl.SSLSession | None = None
    for _ in range(2):
        with RawClient(balancer.required) as client:
            secured = context.wrap_socket(client.sock, server_hostname="localhost", session=session)
            client.sock = secured
            client.send(b"GET /again HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.answer().status == 200
            assert not secured.session_reused
            session = secured.session if secured.session is not None and secured.session.has_ticket else None
    assert session is None


@pytest.mark.long
def test_a_handshake_that_fails_for_another_reason_ends_with_an_alert_too(balancer: Balancer) -> None:
    context = balancer.context(None)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA")
    client = RawClient(balancer.silent)
    with client, pytest.raises(ssl.SSLError, match="ALERT_HANDSHAKE_FAILURE"):
        context.wrap_socket(client.sock, server_hostname="localhost")
