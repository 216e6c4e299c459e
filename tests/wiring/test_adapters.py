"""Sources as they are joined from the configuration."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from devtools.wait import PATIENCE
from lbflask.config.load import ConfigError
from lbflask.config.schema import Config
from lbflask.core.model import Backend
from lbflask.wiring.adapters import backends_in_file, source_for
from lbflask.wiring.checker_runtime import discovery_task_for
from tests.support.nameserver import NameServer


def configured(source: str | None = None, **discovery: object) -> Config:
    found = {"source": source, **discovery} if source else {}
    return Config.model_validate({"backends": ["http://a:1"], "discovery": found, "health": {"path": "/usual"}})


def backends(config: Config) -> list[Backend]:
    source = source_for(config)
    assert source is not None
    return [found.backend for found in asyncio.run(source.ask()).found]


def test_a_pool_without_a_source_has_none() -> None:
    assert source_for(configured()) is None
    assert discovery_task_for("default", configured()) is None
    assert discovery_task_for("default", configured("dns://web:80")) is not None


@pytest.mark.parametrize("url", ["file:/etc/b.toml", "dns://web.test:80", "srv://_http._tcp.web.test"])
def test_a_source_is_called_as_it_is_configured(url: str) -> None:
    assert str(source_for(configured(url))) == url


def test_every_setting_of_a_source_of_addresses_counts() -> None:
    with NameServer() as server:
        server.set("web.test", "A", "10.0.0.1", ttl=7)
        server.set("web.test", "AAAA", "fd00::1", ttl=5000)
        options = {"nameservers": [server.address], "scheme": "https", "weight": 5}
        config = configured("dns://web.test", **options)
        assert [(one.url, one.weight) for one in backends(config)] == [
            ("https://10.0.0.1:443", 5), ("https://[fd00::1]:443", 5),
        ]  # fmt: skip
        for family, bounds, good_for in [
            ("any", {}, 7),
            ("ipv4", {"min_ttl": 20}, 20),
            ("ipv6", {"max_ttl": 60}, 60),
            ("ipv6", {}, 300),
        ]:
            source = source_for(configured("dns://web.test", **options, family=family, **bounds))
            assert source is not None
            assert asyncio.run(source.ask()).good_for == good_for
        server.silent = True
        source = source_for(configured("dns://web.test", **options, timeout=0.05))
        assert source is not None
        with pytest.raises(Exception, match=r"within 0\.05 s"):
            asyncio.run(source.ask())


def test_services_are_spoken_to_by_the_scheme_that_is_set() -> None:
    with NameServer() as server:
        server.set("_x._tcp.web.test", "SRV", "0 3 8000 a.test.")
        server.set("a.test", "A", "10.0.0.1")
        config = configured("srv://_x._tcp.web.test", nameservers=[server.address], scheme="https")
        assert [(one.url, one.weight) for one in backends(config)] == [("https://10.0.0.1:8000", 3)]


def test_backends_in_a_file_are_checked_as_their_own_tables_say(tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    path.write_text('backends = ["http://a:1", { url = "http://b:2", health = { method = "HEAD" } }]')
    usual, own = backends_in_file(configured(), path)
    assert usual.check is None
    assert own.check is not None
    assert (own.check.kind, own.check.path, own.check.method) == ("http", "/usual", "HEAD")


def test_a_check_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    path.write_text('backends = ["http://a:1", { url = "http://b:2", health = { kind = "tcp", path = "/x" } }]')
    with pytest.raises(ConfigError) as refused:
        backends_in_file(configured(), path)
    assert str(refused.value) == f"{path}: backends[1].health.path: a check of kind 'tcp' does not use it"


def test_a_checker_that_asks_no_name_server_loads_nothing_for_it() -> None:
    code = "import lbflask.healthcheck, sys; print('dns' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.split() == ["False"]
