"""The admin listener without tokens, asked by a page whose name has come to mean this machine (DNS rebinding)."""

from __future__ import annotations

import json

import pytest

from devtools.raw_client import RawClient, RawResponse
from tests.conformance.servers import Rig

STRANGERS = [
    b"evil.example",
    b"a_b.attacker.example",
    *(
        b"a%bb.attacker.example" % sign
        for sign in (b"!", b'"', b"$", b"&", b"'", b"(", b")", b"*", b"+", b",", b";", b"=")
    ),
    *(b"a%bb.attacker.example" % sign for sign in (b"_", b"`", b"{", b"}", b"~", b"%2e", b"\xe9")),
    b"",
    b"user@localhost",
    b"localhost:x",
    b"[::1%25lo]",
]


def asked(rig: Rig, *lines: bytes, path: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> RawResponse:
    with RawClient(rig.balancer.admin_port, rig.patience) as client:
        return client.ask(b"\r\n".join([method + b" " + path + b" HTTP/" + version, *lines, b"", b""]))


@pytest.mark.parametrize("host", STRANGERS, ids=repr)
def test_a_host_that_is_not_known_is_shown_nothing(rig: Rig, host: bytes) -> None:
    for path in (b"/", b"/dashboard.js", b"/metrics", b"/api/v1/state", b"/api/v1/openapi.json"):
        assert asked(rig, b"Host: " + host, path=path).status in (400, 403), path
    drain = asked(
        rig, b"Host: " + host, b"Origin: null", path=b"/api/v1/pools/default/backends/x/drain", method=b"POST"
    )
    assert drain.status in (400, 403)
    health = asked(rig, b"Host: " + host, path=b"/health")
    assert health.status == 400 or "states" not in json.loads(health.body)["pools"]["default"]


def test_nor_is_one_that_names_none_or_several(rig: Rig) -> None:
    assert asked(rig, path=b"/api/v1/state", version=b"1.0").status in (400, 403)
    assert asked(rig, path=b"/api/v1/state").status in (400, 403)
    assert asked(rig, b"Host: localhost", b"Host: localhost", path=b"/api/v1/state").status in (400, 403)


@pytest.mark.parametrize("authority", [b"evil.example", b"user@localhost", b"", b"localhost:x"])
def test_the_host_of_a_target_counts_more_than_the_field(rig: Rig, authority: bytes) -> None:
    assert asked(rig, b"Host: localhost", path=b"http://" + authority + b"/api/v1/state").status in (400, 403)
    assert asked(rig, b"Host: evil.example", path=b"http://localhost/api/v1/state").status == 200


@pytest.mark.parametrize("host", [b"localhost", b"LOCALHOST.:80", b"127.0.0.1", b"[::1]:8090"])
def test_this_machine_is_shown_all(rig: Rig, host: bytes) -> None:
    assert asked(rig, b"Host: " + host, path=b"/api/v1/state").status == 200
    assert "states" in json.loads(asked(rig, b"Host: " + host, path=b"/health").body)["pools"]["default"]
