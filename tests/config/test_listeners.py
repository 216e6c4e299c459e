"""Listeners that differ: what operators may write, and the line that tells them what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools.certificates import Authority
from lbflask.config import render
from lbflask.config.listeners import ListenerConfig, https_url
from lbflask.config.load import ConfigError, load, place_of
from lbflask.config.schema import Config

BACKENDS = 'backends = ["http://a:1"]\n'
PLAIN = '[[listeners]]\nbind = "0.0.0.0:80"\nredirect = "https"\n'
TLS = '[[listeners]]\nbind = "0.0.0.0:443"\nname = "public"\ntls = true\n'


@pytest.fixture(scope="module")
def section(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The table [tls] with a certificate."""
    pair = Authority(tmp_path_factory.mktemp("certificates")).pair("shop.example")
    return f'[tls]\ncertificate = "{pair.certificate}"\nkey = "{pair.key}"\n'


def loaded(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "lbflask.toml"
    path.write_text(BACKENDS + text)
    return load({"LBFLASK_CONFIG": str(path)})


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, text)
    message = str(refused.value)
    assert message.startswith(f"{tmp_path / 'lbflask.toml'}:")
    assert message.isprintable(), "one line"
    return message.removeprefix(f"{tmp_path / 'lbflask.toml'}:")


def test_plain_and_tls_stand_side_by_side(tmp_path: Path, section: str) -> None:
    config = loaded(tmp_path, PLAIN + TLS + section)
    assert config.addresses == ("0.0.0.0:80", "0.0.0.0:443")
    assert [one.tls for one in config.every_listener()] == [False, True]
    assert [one.label for one in config.every_listener()] == ["0.0.0.0:80", "public"]


def test_the_short_form_has_tls_on_all_or_on_none(tmp_path: Path, section: str) -> None:
    for text, tls in (("", False), (section, True)):
        config = loaded(tmp_path, 'bind = ["127.0.0.1:1", "127.0.0.1:2"]\n' + text)
        assert [(one.label, one.tls) for one in config.every_listener()] == [("127.0.0.1:1", tls), ("127.0.0.1:2", tls)]


def test_what_is_shown_can_be_loaded_again(tmp_path: Path, section: str) -> None:
    config = loaded(tmp_path, PLAIN + TLS + section)
    path = tmp_path / "shown.toml"
    path.write_text(render.toml_of(render.effective(config)))
    again = load({"LBFLASK_CONFIG": str(path)})
    assert again.listeners == config.listeners
    assert render.version(again) == render.version(config)


def test_addresses_are_no_part_of_the_version(tmp_path: Path, section: str) -> None:
    versions = [render.version(loaded(tmp_path, PLAIN.replace("80", port) + TLS + section)) for port in ("80", "81")]
    assert versions[0] == versions[1]
    assert render.version(loaded(tmp_path, PLAIN.replace("https", "") + TLS + section)) != versions[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            'bind = "127.0.0.1:80"\n' + PLAIN,
            "2: bind: there are [[listeners]] too; leave bind out, and write instead: [[listeners]] bind = "
            "'127.0.0.1:80'",
        ),
        (PLAIN + PLAIN, "6: listeners[1].bind: '0.0.0.0:80' is taken by listeners[0].bind"),
        (
            PLAIN + 'name = "a"\n[[listeners]]\nbind = "h:1"\nname = "a"\n',
            "8: listeners[1].name: 'a' is that of listeners[0] already",
        ),
        (TLS, "5: listeners[0].tls: there is no certificate; set in [tls] certificates = "),
        (TLS + 'redirect = "https"\n', "6: listeners[0].redirect: clients of this listener use https already"),
        (PLAIN + 'redirects = "https"\n', "5: there is no setting 'listeners[0].redirects'"),
        (PLAIN.replace("https", "http"), "4: listeners[0].redirect = 'http': input should be '' or 'https'"),
        (PLAIN.replace("0.0.0.0:80", "80"), "3: listeners[0].bind = '80': must be host:port, such as 0.0.0.0:80"),
        (PLAIN + 'name = "a:1"\n', "5: listeners[0].name = 'a:1': must be a name of at most 64"),
        ("[[listeners]]\n", "2: listeners[0].bind: is missing"),
        (
            'admin_bind = "0.0.0.0:80"\nadmin.tokens = ["operator:a:0123456789abcdef0123456789abcdef"]\n' + PLAIN,
            "2: admin_bind: '0.0.0.0:80' is the public listener's address too",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    assert refusal(tmp_path, text).startswith(told)


def test_a_certificate_that_no_listener_uses_is_told(tmp_path: Path, section: str) -> None:
    assert "tls.certificate: no listener uses it; set tls = true in one" in refusal(tmp_path, PLAIN + section)


def test_the_place_of_a_listener_is_found(tmp_path: Path) -> None:
    path = tmp_path / "lbflask.toml"
    path.write_text(BACKENDS + PLAIN + '[[listeners]]\nbind = "h:1"\n')
    assert place_of("listeners[1].bind", {"LBFLASK_CONFIG": str(path)}) == f"{path}:6"


@pytest.mark.parametrize(
    ("tls", "port"),
    [
        ([], ""),
        (["unix:/a.sock"], ""),
        (["0.0.0.0:443"], ""),
        (["0.0.0.0:8443", "[::]:443"], ""),
        (["unix:/a.sock", "[::]:8443", "h:9"], ":8443"),
    ],
)
def test_a_redirection_leads_to_the_port_of_the_tls_listener(tls: list[str], port: str) -> None:
    listeners = [ListenerConfig(bind="0.0.0.0:80"), *(ListenerConfig(bind=bind, tls=True) for bind in tls)]
    assert https_url(listeners) == f"https://{{host}}{port}{{path}}{{query}}"


def test_proxies_that_state_their_clients_are_networks(tmp_path: Path) -> None:
    config = loaded(tmp_path, '[[listeners]]\nbind = "[::]:80"\nproxy_protocol = "10.0.0.0/8, fd00::/8"\n')
    assert list(map(str, config.listeners[0].proxy_protocol)) == ["10.0.0.0/8", "fd00::/8"]
    wrong = '[[listeners]]\nbind = "unix:/run/lbflask.sock"\nproxy_protocol = ["10.0.0.0/8"]\n'
    assert "peers of a unix socket have no address in a network" in refusal(tmp_path, wrong)


TCP = '[[listeners]]\nbind = "0.0.0.0:6379"\ntcp = "cache"\n'
CACHE = '[pools.cache]\nbackends = ["tcp://a:6379", "unix:/run/cache.sock"]\n'


def test_listeners_without_http_have_pools_of_their_own(tmp_path: Path) -> None:
    config = loaded(tmp_path, TCP + '[[listeners]]\nbind = "0.0.0.0:80"\n' + CACHE)
    assert [one.passes_on for one in config.listeners] == [True, False]
    for text, reason in (
        (TCP + "tls = true\n" + CACHE, "passed on as they are"),
        (TCP + 'redirect = "https"\n' + CACHE, "passed on as they are"),
        (TCP + CACHE + '[[routes]]\npool = "cache"\n', "is that of listeners[0].tcp, without HTTP"),
        (TCP.replace("cache", "default"), "passes connections on, so write tcp://host:port"),
        (TCP + CACHE + '[pools.b]\nbackends = ["tcp://b:1"]\n[[routes]]\npool = "default"\n', "no listener names it"),
    ):
        assert reason in refusal(tmp_path, text)


def test_requests_need_a_pool_beside_those_of_other_connections(tmp_path: Path) -> None:
    path = tmp_path / "lbflask.toml"
    path.write_text(TCP + '[[listeners]]\nbind = "0.0.0.0:80"\n' + CACHE)
    with pytest.raises(ConfigError, match="whose requests have no pool"):
        load({"LBFLASK_CONFIG": str(path)})
    path.write_text(TCP + CACHE)
    assert list(load({"LBFLASK_CONFIG": str(path)}).every_pool()) == ["cache"]
