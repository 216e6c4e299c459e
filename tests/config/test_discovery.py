"""Where backends are found: what can be configured, and what is said of the rest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from lbflask.config.discovery import DiscoveryConfig, Where
from lbflask.config.load import ConfigError, read_backends
from tests.support.changes import property_test


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("file:/etc/b.toml", Where("file", "/etc/b.toml")),
        ("file:///etc/b.json", Where("file", "/etc/b.json")),
        ("dns://web.test:8000", Where("dns", "web.test", 8000)),
        ("dns://web", Where("dns", "web", 80)),
        ("dns://web.test.:1", Where("dns", "web.test.", 1)),
        ("srv://_http._tcp.web.test", Where("srv", "_http._tcp.web.test")),
        ("srv://web.service.consul", Where("srv", "web.service.consul")),
    ],
)
def test_sources_that_are_understood(source: str, where: Where) -> None:
    assert DiscoveryConfig(source=source).where() == where


def test_the_port_is_that_of_the_scheme_where_none_is_given() -> None:
    assert DiscoveryConfig(source="dns://web", scheme="https").where() == Where("dns", "web", 443)
    assert DiscoveryConfig().where() is None


FORMS = "must be file:/path, dns://name:port or srv://_service._tcp.name"
FILE = "a file needs an absolute path"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", FORMS), ("web.test", FORMS), ("http://web.test", FORMS), ("dns:web.test", FORMS), ("DNS://web", FORMS),
        ("file:b.toml", FILE), ("file://host/b.toml", FILE), ("file:", FILE), ("file:/etc/", FILE),
        ("file:/a\nb", FILE),
        ("dns://", "'' is not a name"), ("dns://a..b", "not a name"), ("dns://-a", "not a name"),
        ("dns://web/path", "not a name"), ("dns://user@web", "not a name"), ("dns://wéb", "not a name"),
        ("dns://" + "a" * 64, "not a name"), ("srv://" + "a." * 128, "not a name"),
        ("dns://web:0", "the port is not"), ("dns://web:65536", "the port is not"), ("dns://web:", "the port is not"),
        ("dns://10.0.0.1:80", "10.0.0.1 is an address"), ("srv://_http._tcp.web:80", "SRV records have the port"),
    ],
)  # fmt: skip
def test_sources_that_are_refused(source: str, said: str) -> None:
    with pytest.raises(ValidationError, match="source") as refused:
        DiscoveryConfig(source=source)
    assert said in str(refused.value)


def test_name_servers_are_addresses_with_a_port_or_without() -> None:
    found = DiscoveryConfig(source="dns://a", nameservers="10.0.0.2, 10.0.0.3:5353,[fd00::2],[fd00::3]:54")  # type: ignore[arg-type]
    assert found.servers() == (("10.0.0.2", 53), ("10.0.0.3", 5353), ("fd00::2", 53), ("fd00::3", 54))


@pytest.mark.parametrize(
    "server", ["ns.test", "10.0.0.2:0", "10.0.0.2:65536", "10.0.0.2:x", "10.0.0", "[fd00::2]:", ":53"]
)
def test_other_name_servers_are_refused(server: str) -> None:
    with pytest.raises(ValidationError, match="nameservers"):
        DiscoveryConfig(source="dns://a", nameservers=(server,))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "file:/b.toml", "scheme": "https"}, "discovery.scheme: a source of kind 'file' does not use it"),
        ({"source": "file:/b.toml", "timeout": 1}, "discovery.timeout: a source of kind 'file' does not use it"),
        ({"source": "srv://a.b", "weight": 2}, "discovery.weight: a source of kind 'srv' does not use it"),
        ({"family": "ipv4"}, "discovery.family: without a `source` there is no use for it"),
        ({"source": "dns://a", "min_ttl": 60, "max_ttl": 30}, "discovery.min_ttl: 60 is more than max_ttl, 30"),
    ],
)
def test_what_has_no_use_is_refused_by_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match="discovery") as refused:
        DiscoveryConfig.model_validate(values).check("discovery")
    assert str(refused.value) == message


def test_what_has_a_use_is_not_refused() -> None:
    DiscoveryConfig().check("discovery")
    DiscoveryConfig(source="file:/b.toml").check("discovery")
    DiscoveryConfig(source="srv://a.b", nameservers=("10.0.0.2",), family="ipv4", max_ttl=30, timeout=1).check(
        "discovery"
    )


@pytest.mark.parametrize("key", ["min_ttl", "max_ttl"])
def test_a_time_to_live_is_at_least_a_second(key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        DiscoveryConfig.model_validate({"source": "dns://a", key: 0.5})


# Files of backends


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("b.toml", 'backends = ["http://a:1", { url = "http://b:2", weight = 3 }]'),
        ("b.toml", '[[backends]]\nurl = "http://a:1"\n[[backends]]\nurl = "http://b:2"\nweight = 3'),
        ("b", 'backends = ["http://a:1", { url = "http://b:2", weight = 3 }]'),
        ("b.json", '{"backends": ["http://a:1", {"url": "http://b:2", "weight": 3}]}'),
        ("b.json", '["http://a:1", {"url": "http://b:2", "weight": 3}]'),
    ],
)
def test_a_file_of_backends_is_toml_or_json(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert [(one.url, one.weight) for one in read_backends(path)] == [("http://a:1", 1), ("http://b:2", 3)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("b.toml", "", "backends: is missing"),
        ("b.toml", 'backends = ["http://a:1"]\nweight = 3', "there is no setting 'weight' (its value is 3)"),
        (
            "b.toml",
            'backends = ["ftp://a"]',
            "backends[0]: url 'ftp://a': the scheme must be http, https,",
        ),
        ("b.toml", 'backends = ["http://a:1", "http://a:1"]', "backends: duplicate backend 'a:1'"),
        ("b.toml", "backends = [", "is not TOML: Invalid value (at end of document)"),
        ("b.json", '[\n "http://a:1",\n)', "is not JSON: Expecting value (at line 3, column 1)"),
        ("b.json", "3", "must be a list of backends, or a table with `backends`"),
        ("b.json", "[" * 100_000, "is nested too deeply"),
        ("b.json", "\N{LATIN SMALL LETTER E WITH ACUTE}".encode("latin-1"), "is not UTF-8 text (byte 0)"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as refused:
        read_backends(path)
    assert re.match(re.escape(str(path)) + r"(:\d+)?: " + re.escape(message), str(refused.value))
    assert str(refused.value).isprintable()


test_any_source_is_what_its_parts_say_or_rejected = property_test("source")
