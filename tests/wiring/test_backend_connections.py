from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from devtools.certificates import Authority
from devtools.scripted_backend import ScriptedBackend, answering_always
from lbflask.config.schema import Config
from lbflask.config.tls import BackendTLSConfig
from lbflask.upstream.dialer import Dialer
from lbflask.wiring.adapters import tls_settings_for
from lbflask.wiring.backend_connections import BackendConnections
from tests.support.pool_routes import with_routes


def config(**pools: dict[str, Any]) -> Config:
    named = {name: {"backends": ["https://b:1"], "backend_tls": tls} for name, tls in pools.items()}
    return Config.model_validate(with_routes({"backends": ["https://a:1"], "pools": named}))


def new_dialer(tls: BackendTLSConfig, _opening: bytes) -> Dialer:
    return Dialer(tls_settings_for(tls))


def test_pools_with_equal_settings_share_their_connections(tmp_path: Path) -> None:
    file = Authority(tmp_path).ca_file
    made = BackendConnections(
        config(one={"ca_file": file}, two={"ca_file": file}, three={}), new_dialer, time.monotonic
    )
    assert made.of_pool("one") is made.of_pool("two")
    assert made.of_pool("three") is made.of_pool("default")
    assert made.of_pool("one") is not made.of_pool("three")


def test_pools_with_another_proxy_protocol_have_other_connections() -> None:
    pools = {
        name: {"backends": ["http://b:1"], "proxy_protocol": version} for name, version in (("a", "v1"), ("b", ""))
    }
    made = BackendConnections(
        Config.model_validate(with_routes({"backends": ["http://a:1"], "pools": pools})), new_dialer, time.monotonic
    )
    assert made.of_pool("a") is not made.of_pool("default")
    assert made.of_pool("b") is made.of_pool("default")


def test_a_reload_renews_only_what_has_changed(tmp_path: Path) -> None:
    first, second = (Authority(tmp_path, name).ca_file for name in ("first", "second"))
    made = BackendConnections(config(one={"ca_file": first}, two={}), new_dialer, time.monotonic)
    one, two = made.of_pool("one"), made.of_pool("two")
    made.apply_config(config(one={"ca_file": second}, two={}, three={}))
    assert made.of_pool("two") is made.of_pool("three") is two
    assert made.of_pool("one") is not one
    one = made.of_pool("one")
    Path(second).write_bytes(Path(first).read_bytes())  # the same name, another content
    made.apply_config(config(one={"ca_file": second}, two={}))
    assert made.of_pool("one") is not one
    assert made.of_pool("two") is two


def test_connections_are_counted_over_all_settings_and_reloads(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with ScriptedBackend(answering_always(), tls=authority.server("127.0.0.1")) as backend:
        made = BackendConnections(config(one={"ca_file": authority.ca_file}), new_dialer, time.monotonic)
        assert made.certificate_expiry(backend.address) is None
        connection = made.of_pool("one").open(backend.address, 5)
        made.of_pool("one").give_back(backend.url, connection)
        assert (made.opened, made.idle, made.reused) == (1, 0 if not connection.reusable else 1, 0)
        assert made.certificate_expiry(backend.address) is not None
        made.apply_config(config(one={}))
        assert (made.opened, made.idle) == (1, 0)
        made.close()
