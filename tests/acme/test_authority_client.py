"""The client of an authority: Pebble, behind a proxy that spoils responses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from devtools.ports import free_port
from lbflask.acme import authority_client, key_material
from lbflask.acme.authority_client import AuthorityClient, AuthorityError, AuthoritySettings
from lbflask.core.certificate_orders import AcmeStatus, CertificateAccount
from lbflask.core.certificate_renewal import Period
from tests.support.acme_authority import AcmeAuthority
from tests.support.faulty_authority import Fault, FaultyAuthority, problem

NAME = "shop.example"
RENEWAL_ID = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
WINDOW = ("2027-01-01T00:00:00Z", "2027-01-02T00:00:00Z")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeAuthority]:
    directory = tmp_path_factory.mktemp("authority")
    with AcmeAuthority(directory, http_port=free_port(), tls_port=free_port()) as authority:
        yield authority


@pytest.fixture
def faulty(tmp_path: Path, authority: AcmeAuthority) -> Iterator[FaultyAuthority]:
    with FaultyAuthority(tmp_path, authority) as faulty:
        yield faulty


def client_of(faulty: FaultyAuthority) -> AuthorityClient:
    settings = AuthoritySettings(faulty.directory, "", faulty.ca_file)
    return AuthorityClient(settings, CertificateAccount(faulty.directory, "", key_material.new_key()))


@pytest.fixture
def client(faulty: FaultyAuthority) -> Iterator[AuthorityClient]:
    client = client_of(faulty)
    client.register()
    yield client
    client.close()


def failure(client: AuthorityClient) -> AuthorityError:
    with pytest.raises(AuthorityError) as failed:
        client.new_order(NAME)
    assert str(failed.value).isprintable()
    assert 0 < len(str(failed.value)) <= authority_client.MAX_REASON + 40
    return failed.value


@pytest.mark.sampled(3, 1)
@pytest.mark.parametrize(
    ("fault", "code", "retry_after", "reason"),
    [
        (Fault(429, problem("rateLimited", "too many"), retry_after="3600"), "rateLimited", 3600.0, "too many"),
        (Fault(503, problem("serverInternal"), retry_after="soon"), "serverInternal", None, "by the test"),
        (Fault(500, b"<html>Oops"), "", None, ""),
        (Fault(502, b"\x00\xff\x1b[2J"), "", None, ""),
        (Fault(201, b"{}"), "", None, "cannot be used"),
        (Fault(201, b'{"status": "odd", "authorizations": [], "finalize": ""}'), "", None, "cannot be used"),
        (Fault(201, b"[" * 100_000), "", None, ""),
        (Fault(400, b'{"type": 5, "detail": ["x"]}'), "", None, ""),
        (Fault(403, problem("unauthorized", "no\n\x1b[2J" + "x" * 5000)), "unauthorized", None, "no??[2Jxxx"),
        (Fault(429, b" " * ((1 << 20) + 1)), "", None, "more than 1048576 bytes"),
    ],
)  # fmt: skip
def test_what_an_authority_may_respond_with_is_one_kind_of_error(
    faulty: FaultyAuthority, client: AuthorityClient, fault: Fault, code: str, retry_after: float | None, reason: str
) -> None:
    faulty.spoil("/order-plz", fault)
    error = failure(client)
    assert (error.code, error.retry_after) == (code, retry_after)
    assert reason in str(error)
    faulty.heal("/order-plz")
    assert client.new_order(NAME).status is AcmeStatus.PENDING, "the client is of use afterwards"


def test_a_response_that_does_not_end_is_given_up(
    faulty: FaultyAuthority, client: AuthorityClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authority_client, "LONGEST_BODY", 0.3)
    faulty.spoil("/order-plz", Fault(200, drips=True))
    assert "takes more than 0.3 s" in str(failure(client))


class TestNonces:
    def test_a_refused_one_is_exchanged(self, faulty: FaultyAuthority) -> None:
        refused = Fault(400, problem("badNonce"), times=authority_client.MAX_NONCES - 1)
        faulty.spoil("/sign-me-up", refused)
        faulty.spoil("/order-plz", refused)
        client = client_of(faulty)
        assert client.register()
        assert client.new_order(NAME).status is AcmeStatus.PENDING

    def test_an_authority_that_accepts_none_is_given_up(self, faulty: FaultyAuthority, client: AuthorityClient) -> None:
        faulty.spoil("/order-plz", Fault(400, problem("badNonce")))
        assert failure(client).code == "badNonce"
        assert len(faulty.asked("/order-plz")) == authority_client.MAX_NONCES


class TestReplacement:
    def test_an_order_names_the_certificate_that_it_renews(self, faulty: FaultyAuthority) -> None:
        faulty.window = WINDOW
        client = client_of(faulty)
        client.register()
        client.new_order(NAME, chain())
        assert faulty.asked("/order-plz")[-1]["replaces"] == RENEWAL_ID
        client.new_order(NAME)
        assert "replaces" not in faulty.asked("/order-plz")[-1]
        window, _ = client.renewal_window(chain())
        assert window == Period(1_798_761_600.0, 1_798_848_000.0)

    @pytest.mark.parametrize("code", ["alreadyReplaced", "malformed", "unauthorized"])
    def test_one_that_is_not_accepted_is_left_out(self, faulty: FaultyAuthority, code: str) -> None:
        faulty.window = WINDOW
        client = client_of(faulty)
        client.register()
        faulty.spoil("/order-plz", Fault(409, problem(code), where="replaces"))
        assert client.new_order(NAME, chain()).status is AcmeStatus.PENDING
        first, second = faulty.asked("/order-plz")
        assert "replaces" in first
        assert "replaces" not in second

    def test_limits_are_no_reason_to_ask_twice(self, faulty: FaultyAuthority) -> None:
        faulty.window = WINDOW
        client = client_of(faulty)
        client.register()
        faulty.spoil("/order-plz", Fault(429, problem("rateLimited"), where="replaces"))
        with pytest.raises(AuthorityError):
            client.new_order(NAME, chain())
        assert len(faulty.asked("/order-plz")) == 1

    def test_an_authority_without_renewal_windows_does_not_get_it(
        self, faulty: FaultyAuthority, client: AuthorityClient
    ) -> None:
        client.new_order(NAME, chain())
        assert "replaces" not in faulty.asked("/order-plz")[-1]


def chain() -> str:
    """A certificate with the issuer and the serial number of the example in RFC 9773 §4.1."""
    key = key_material.loaded_key(key_material.new_key())
    subject, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)]), datetime.now(UTC)
    issuer = x509.AuthorityKeyIdentifier(bytes.fromhex("69885b6b87464041e1b37b847ba0ae2cde01c8d4"), None, None)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 0x87654321, now, now + timedelta(days=1))
    return builder.add_extension(issuer, False).sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
