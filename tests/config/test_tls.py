"""Files of TLS are loaded when the configuration is: a wrong one is told at once, by setting and name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from devtools.certificates import Authority, Pair
from lbflask.config.load import ConfigError, load
from lbflask.config.schema import Config


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.pair("example.com")


@pytest.fixture
def junk(tmp_path: Path) -> str:
    """A file that is no PEM."""
    path = tmp_path / "junk.pem"
    path.write_text("-----BEGIN NOTHING-----\n")
    return str(path)


def loaded(section: str, **settings: str) -> Config:
    variables = {f"LBFLASK_{section}__{key}".upper(): value for key, value in settings.items()}
    return load({"LBFLASK_CONFIG": os.devnull, "LBFLASK_BACKENDS": "https://a", **variables})


def refusal(section: str, **settings: str) -> str:
    with pytest.raises(ConfigError) as refused:
        loaded(section, **settings)
    message = str(refused.value)
    assert message.isprintable(), "one line"
    return message


SECTIONS = pytest.mark.parametrize("section", ["tls", "backend_tls"])


def test_without_files_there_is_no_tls_and_backends_are_verified() -> None:
    config = loaded("tls")
    assert (config.tls.certificate, config.tls.key) == ("", "")
    assert config.backend_tls.verify


@SECTIONS
def test_a_certificate_and_its_key_are_taken(section: str, pair: Pair) -> None:
    taken = getattr(loaded(section, certificate=pair.certificate, key=pair.key), section)
    assert (taken.certificate, taken.key) == (pair.certificate, pair.key)


@SECTIONS
@pytest.mark.parametrize(("given", "missing"), [("certificate", "key"), ("key", "certificate")])
def test_one_without_the_other_is_refused(section: str, given: str, missing: str, pair: Pair) -> None:
    message = refusal(section, **{given: getattr(pair, given)})
    assert f"{section}.{missing}: is missing" in message


@SECTIONS
@pytest.mark.parametrize("what", ["certificate", "key"])
def test_a_file_that_is_not_there_is_named_with_its_setting(section: str, what: str, pair: Pair) -> None:
    files = {"certificate": pair.certificate, "key": pair.key, what: "/nowhere.pem"}
    variable = f"LBFLASK_{section}__{what}".upper()
    told = f"{variable}: {section}.{what}: '/nowhere.pem' cannot be read: No such file or directory"
    assert refusal(section, **files) == told


@SECTIONS
@pytest.mark.parametrize("what", ["certificate", "key"])
def test_a_file_of_something_else_is_named_with_its_setting(section: str, what: str, pair: Pair, junk: str) -> None:
    files = {"certificate": pair.certificate, "key": pair.key, what: junk}
    message = refusal(section, **files)
    assert f"{section}.{what}: {junk!r} holds no " in message


@SECTIONS
def test_the_key_of_another_certificate_is_refused(section: str, pair: Pair, authority: Authority) -> None:
    other = authority.pair("example.com")
    message = refusal(section, certificate=pair.certificate, key=other.key)
    assert f"{section}.key: {other.key!r} is not the key of the certificate {pair.certificate!r}" in message


def test_nobody_is_asked_for_a_passphrase(pair: Pair, tmp_path: Path) -> None:
    """OpenSSL would wait at the terminal for it."""
    key = serialization.load_pem_private_key(Path(pair.key).read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    message = refusal("tls", certificate=pair.certificate, key=str(locked))
    assert f"tls.key: {str(locked)!r} holds no private key that can be used: it has a passphrase" in message


def test_roots_are_a_file_of_certificates(authority: Authority, junk: str) -> None:
    assert loaded("backend_tls", ca_file=authority.ca_file).backend_tls.ca_file == authority.ca_file
    assert f"backend_tls.ca_file: {junk!r} holds no certificate" in refusal("backend_tls", ca_file=junk)
    assert "backend_tls.ca_file: '/nowhere' cannot be read" in refusal("backend_tls", ca_file="/nowhere")
    assert "backend_tls.ca_file: '/' cannot be read: Is a directory" in refusal("backend_tls", ca_file="/")


@pytest.mark.parametrize("name", [".example", "a..b", "a b", "é", "a\n"])
def test_a_server_name_is_a_name(name: str) -> None:
    assert "backend_tls.server_name" in refusal("backend_tls", server_name=name)


def test_a_file_of_the_configuration_is_named_where_the_setting_stands_in_it(tmp_path: Path) -> None:
    path = tmp_path / "balancer.toml"
    path.write_text('backends = ["https://a"]\n[tls]\ncertificate = "/nowhere.pem"\nkey = "/nowhere.key"\n')
    with pytest.raises(ConfigError) as refused:
        load({"LBFLASK_CONFIG": str(path)})
    told = f"{path}:3: tls.certificate: '/nowhere.pem' cannot be read: No such file or directory"
    assert str(refused.value) == told
