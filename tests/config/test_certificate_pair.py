from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from devtools.certificates import Authority, in_days
from lbflask.config.certificate_pair import CertificatePair, UnusablePair
from lbflask.config.tls import PairFiles
from lbflask.core.server_names import CertificateNames


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def texts(authority: Authority, *names: str, days: float = 30, key_type: trustme.KeyType = trustme.KeyType.RSA):  # type: ignore[no-untyped-def]
    made = authority.pair(*names, not_after=in_days(days), key_type=key_type)
    return Path(made.certificate).read_bytes(), Path(made.key).read_bytes()


def test_a_pair_knows_its_names_its_type_and_its_end(authority: Authority) -> None:
    chain, key = texts(authority, "a.example", "*.a.example", days=3)
    pair = CertificatePair.from_pem("acme", chain, key)
    assert pair.names == CertificateNames(("a.example", "*.a.example"), "RSA")
    assert round((pair.expires - in_days(0).timestamp()) / 86_400) == 3
    assert key.decode().splitlines()[1] not in repr(pair)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair.load_into(context)


def test_what_is_no_pair_is_told_in_a_line(authority: Authority) -> None:
    (chain, key), (_, other) = texts(authority, "a"), texts(authority, "a")
    half = chain[: len(chain) // 2]
    for given, secret, reason in (
        (b"", key, "there is no certificate in PEM form"),
        (half, key, "there is no certificate in PEM form"),
        (chain, other, "the key is not that of the certificate"),
        (chain, b"", "NO_START_LINE|PEM"),
        (chain, key[: len(key) // 2], "PEM|BAD|NO_START_LINE"),
        (chain.replace(b"M", b"!", 40), key, "."),
    ):
        with pytest.raises(UnusablePair, match=reason) as refused:
            CertificatePair.from_pem("x", given, secret)
        assert str(refused.value).isprintable()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, authority: Authority) -> None:
    made = authority.pair("a")
    for files in (PairFiles("c", "k", "/nowhere", made.key), PairFiles("c", "k", made.certificate, "/nowhere")):
        with pytest.raises(UnusablePair, match="'/nowhere' cannot be read: No such file"):
            CertificatePair.from_files(files)
    assert CertificatePair.from_files(PairFiles("c", "k", made.certificate, made.key)).source == "c"
