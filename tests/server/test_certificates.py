"""Clients get the certificate for their name, and renewed ones at once; their sessions outlive both."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from devtools.certificates import Authority, Pair
from devtools.wait import eventually
from lbflask.config.certificate_pair import CertificatePair, UnusablePair
from lbflask.config.certificates import CertificateFile
from lbflask.config.tls import PairFiles, TLSConfig
from lbflask.server.certificates import Certificates, CertificateWatch

RSA, ECDSA = trustme.KeyType.RSA, trustme.KeyType.ECDSA


def plain(make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    return make()


def config(*pairs: Pair, **settings: object) -> TLSConfig:
    tables = [{"cert": pair.certificate, "key": pair.key} for pair in pairs]
    return TLSConfig.model_validate({"certificates": tables, **settings})


def replace(files: Pair, other: Pair) -> None:
    """Exchange both files, as certbot does by renaming."""
    for name in ("certificate", "key"):
        path = Path(getattr(files, name))
        shutil.copy(getattr(other, name), path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)


class Handshake:
    """A handshake in memory with the front context, and what the client got."""

    def __init__(
        self, certificates: Certificates, name: str | None, adjust: Callable[[ssl.SSLContext], None] | None = None,
        session: ssl.SSLSession | None = None, context: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if adjust is not None:
            adjust(context)
        self.context = context
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname=name, session=session)
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        flight = outgoing.read()
        outgoing.write(flight)
        server = certificates.context_for(flight).wrap_bio(outgoing, incoming, server_side=True)
        done: set[ssl.SSLObject] = set()
        while len(done) < 2:
            for side in (client, server):
                try:
                    side.do_handshake()
                    done.add(side)
                except ssl.SSLWantReadError:
                    continue
        server.write(b"x")
        client.read(1)  # with the tickets of TLS 1.3
        self.der = client.getpeercert(binary_form=True)
        self.protocol = client.selected_alpn_protocol()
        self.version, self.session, self.resumed = client.version(), client.session, client.session_reused
        cipher = client.cipher()
        self.cipher = cipher[0] if cipher else ""


def leaf(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(Path(pair.certificate).read_text().partition(ssl.PEM_FOOTER)[0] + ssl.PEM_FOOTER)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_the_name_decides_and_the_first_is_the_default(authority: Authority) -> None:
    a, b, wild = authority.pair("a.example"), authority.pair("b.example"), authority.pair("*.example")
    certificates = Certificates(config(a, b, wild), plain)
    asked = {"a.example": a, "B.Example": b, "c.example": wild, "x.c.example": a, "other": a, None: a}
    for name, pair in asked.items():
        assert Handshake(certificates, name).der == leaf(pair), name


def test_the_client_decides_between_rsa_and_ecdsa(authority: Authority) -> None:
    rsa, ecdsa = authority.pair("a.example", key_type=RSA), authority.pair("a.example", key_type=ECDSA)
    other = authority.pair("b.example", key_type=RSA)
    for order in ((rsa, ecdsa, other), (other, rsa, ecdsa)):
        certificates = Certificates(config(*order), plain)

        def only(kind: str) -> Callable[[ssl.SSLContext], None]:
            def adjust(context: ssl.SSLContext) -> None:
                context.maximum_version = ssl.TLSVersion.TLSv1_2
                context.set_ciphers(f"ECDHE-{kind}-AES128-GCM-SHA256")

            return adjust

        assert Handshake(certificates, "a.example", only("RSA")).der == leaf(rsa)
        assert Handshake(certificates, "a.example", only("ECDSA")).der == leaf(ecdsa)
        assert Handshake(certificates, "b.example", only("RSA")).der == leaf(other)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["a.example", "b.example", "none"])
def test_sessions_outlive_an_exchange_of_all_certificates(
    authority: Authority, version: ssl.TLSVersion, name: str
) -> None:
    a, b = authority.pair("a.example"), authority.pair("b.example")
    certificates = Certificates(config(a, b), plain)

    def only(context: ssl.SSLContext) -> None:
        context.minimum_version = context.maximum_version = version

    first = Handshake(certificates, name, only)
    for old in (a, b):
        replace(old, authority.pair("a.example" if old is a else "b.example"))
    assert certificates.refresh()
    again = Handshake(certificates, name, session=first.session, context=first.context)
    assert again.resumed
    new = Handshake(certificates, name, only)
    assert new.der == leaf(b if name == "b.example" else a) != first.der


def test_a_default_of_another_key_type_replaces_the_former(authority: Authority) -> None:
    rsa, ecdsa = authority.pair("a.example", key_type=RSA), authority.pair("a.example", key_type=ECDSA)
    b = authority.pair("b.example")
    files = authority.pair("x")
    replace(files, rsa)
    certificates = Certificates(config(files, b), plain)
    first = Handshake(certificates, None)
    assert first.der == leaf(rsa)
    for now in (ecdsa, rsa, ecdsa):
        replace(files, now)
        assert certificates.refresh()
        for name, pair in ((None, now), ("a.example", now), ("b.example", b)):
            assert Handshake(certificates, name).der == leaf(pair)
    assert Handshake(certificates, None, session=first.session, context=first.context).resumed


def test_a_file_that_cannot_be_used_leaves_the_earlier_one(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    a, b, renewed = authority.pair("a.example"), authority.pair("b.example"), authority.pair("a.example")
    certificates = Certificates(config(a, b), plain)
    before = leaf(a)
    assert not certificates.refresh()
    shutil.copy(renewed.certificate, a.certificate)  # and not yet its key
    assert certificates.refresh()
    assert not certificates.refresh(), "it is told once"
    (broken, sound) = certificates.files()
    assert (broken.setting, broken.unusable) == (
        "tls.certificates[0].cert",
        "the key is not that of the certificate",
    )
    assert (sound.setting, sound.unusable) == ("tls.certificates[1].cert", "")
    assert Handshake(certificates, "a.example").der == before
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    shutil.copy(renewed.key, a.key)
    assert certificates.refresh()
    assert certificates.files()[0].unusable == ""
    assert Handshake(certificates, "a.example").der == leaf(renewed)
    Path(a.certificate).unlink()
    assert certificates.refresh()
    assert "No such file" in certificates.files()[0].unusable
    assert Handshake(certificates, "a.example").der == leaf(renewed)


def test_a_configuration_adds_and_removes_certificates_or_changes_nothing(authority: Authority) -> None:
    a, b = authority.pair("a.example"), authority.pair("b.example")
    certificates = Certificates(config(a), plain)
    assert Handshake(certificates, "b.example").der == leaf(a)
    certificates.apply_config(config(a, b))
    assert Handshake(certificates, "b.example").der == leaf(b)
    with pytest.raises(UnusablePair):
        certificates.apply_config(config(b, Pair("/nowhere", "/nowhere")))
    assert Handshake(certificates, None).der == leaf(a)
    certificates.apply_config(config(b, a))
    assert Handshake(certificates, None).der == leaf(b)
    assert Handshake(certificates, "a.example").der == leaf(a)
    assert [one.path for one in certificates.files()] == [b.certificate, a.certificate]


def test_versions_and_ciphers_are_those_of_the_settings(authority: Authority) -> None:
    a, b = authority.pair("a.example", key_type=RSA), authority.pair("b.example", key_type=RSA)

    def old(context: ssl.SSLContext) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    certificates = Certificates(config(a, b), plain)
    for name in ("a.example", "b.example"):
        assert Handshake(certificates, name, old).version == "TLSv1.2"
    certificates.apply_config(config(a, b, ciphers="ECDHE-RSA-AES256-GCM-SHA384"))
    for name in ("a.example", "b.example"):
        assert Handshake(certificates, name, old).cipher == "ECDHE-RSA-AES256-GCM-SHA384"
    modern = Certificates(config(a, b, minimum="TLSv1.3"), plain)
    for name in ("a.example", "b.example"):
        assert Handshake(modern, name).version == "TLSv1.3"
        with pytest.raises(ssl.SSLError):
            Handshake(modern, name, old)


def test_a_hook_of_the_users_file_adjusts_each_context(authority: Authority) -> None:
    made: list[ssl.SSLContext] = []

    def adjust(make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        made.append(make())
        made[-1].minimum_version = ssl.TLSVersion.TLSv1_3
        return made[-1]

    certificates = Certificates(config(authority.pair("a"), authority.pair("b")), adjust)
    assert len(made) == 2
    assert Handshake(certificates, "b").version == "TLSv1.3"


def offering(*protocols: str) -> Callable[[ssl.SSLContext], None]:
    return lambda context: context.set_alpn_protocols(protocols)


def test_challenges_are_answered_to_those_who_offer_their_protocol(authority: Authority) -> None:
    a, b, answer = authority.pair("a.example"), authority.pair("b.example"), authority.pair("a.example")
    certificates = Certificates(config(a, b), plain)
    files = PairFiles("acme", "acme", answer.certificate, answer.key)
    certificates.set_challenges({"a.example": CertificatePair.from_files(files)})
    got = Handshake(certificates, "A.example", offering("acme-tls/1"))
    assert (got.der, got.protocol) == (leaf(answer), "acme-tls/1")
    for name, usual in (("b.example", b), ("xa.example", a), ("a.example.b.example", a), (None, a)):
        passed = Handshake(certificates, name, offering("acme-tls/1"))
        assert (passed.der, passed.protocol) == (leaf(usual), None)
    other = Handshake(certificates, "a.example", offering("h2", "http/1.1"))
    assert (other.der, other.protocol) == (leaf(a), "http/1.1")
    certificates.set_challenges({})
    assert Handshake(certificates, "a.example", offering("acme-tls/1")).der == leaf(a)


def test_pairs_from_memory_stand_beside_those_of_files(authority: Authority) -> None:
    a, b = authority.pair("a.example"), authority.pair("b.example")
    certificates = Certificates(config(a), plain)
    chain, key = (Path(file).read_bytes() for file in (b.certificate, b.key))
    certificates.set_pairs([CertificatePair.from_pem("acme", chain, key)])
    assert Handshake(certificates, "b.example").der == leaf(b)
    assert Handshake(certificates, "a.example").der == Handshake(certificates, None).der == leaf(a)
    certificates.set_pairs([])
    assert Handshake(certificates, "b.example").der == leaf(a)


def test_the_watch_takes_what_has_changed_by_itself(authority: Authority) -> None:
    a, renewed = authority.pair("a.example"), authority.pair("a.example")
    certificates = Certificates(config(a), plain)
    told: list[tuple[CertificateFile, ...]] = []
    watch = CertificateWatch(certificates, config(a), told.append)
    try:
        assert len(told) == 1
        replace(a, renewed)
        eventually(lambda: len(told) == 2, "it has noticed")
        assert Handshake(certificates, None).der == leaf(renewed)
        watch.apply_config(config(Pair("/nowhere", "/nowhere")))
        assert Handshake(certificates, None).der == leaf(renewed)
        watch.apply_config(TLSConfig())
        assert len(certificates.files()) == 1
    finally:
        watch._task.stop()
