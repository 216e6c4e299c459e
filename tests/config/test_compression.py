"""Compression as it is configured: levels, libraries that are missing, and routes with files."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from pydantic import ValidationError

from lbflask.config.compression import CompressionConfig
from lbflask.config.schema import Config
from lbflask.core.http.compression import CompressionPolicy
from lbflask.wiring.pipelines import proxy_settings


def config(**settings: Any) -> Config:
    return Config.model_validate({"backends": ["http://a:1"], **settings})


def test_nothing_is_compressed_unless_an_encoding_is_set() -> None:
    assert CompressionConfig().policy() is None
    assert CompressionConfig(encodings=("gzip",), types=()).policy() is None
    assert proxy_settings(config(), "default").compression is None


def test_the_policy_has_the_encodings_in_order_with_their_levels() -> None:
    given = {"encodings": "gzip,zstd", "gzip_level": 9, "types": ["text/*"], "min_length": "2KiB"}
    policy = CompressionConfig.model_validate(given).policy()
    assert policy == CompressionPolicy({"gzip": 9, "zstd": 3}, ("text/*",), 2048)
    assert list(policy.levels) == ["gzip", "zstd"]


def test_a_route_overrides_and_a_route_with_files_has_it_too() -> None:
    routes = [
        {"match": {"path": "/a"}, "pool": "default", "compression": {"encodings": []}},
        {"match": {"path": "/b"}, "files": "/tmp", "compression": {"gzip_level": 1}},
    ]
    table = config(compression={"encodings": ["gzip"]}, routes=routes)
    assert proxy_settings(table, "default", table.routes[0]).compression is None
    assert table.traffic("", table.routes[1]).compression.policy() == CompressionPolicy({"gzip": 1})
    with pytest.raises(ValidationError, match="does not use it"):
        config(routes=[{"match": {"path": "/"}, "respond": {}, "compression": {"encodings": ["gzip"]}}])


@pytest.mark.parametrize("files", [False, True])
def test_a_library_that_is_missing_is_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, files: bool
) -> None:
    monkeypatch.setitem(sys.modules, "brotli", None)
    action: dict[str, Any] = {"files": "/tmp"} if files else {"pool": "default"}
    route = {"match": {"path": "/"}, "compression": {"encodings": ["gzip", "br"]}, **action}
    with pytest.raises(ValidationError, match=r"routes\[0\].compression.encodings: 'br'.*lbflask\[compression\]"):
        config(routes=[route])


@pytest.mark.parametrize("kind", ["text", "text/", "*/*", "Text/html", "text/html; charset=utf-8", "a/b/c"])
def test_a_type_has_a_form(kind: str) -> None:
    with pytest.raises(ValidationError, match="must be a media type"):
        config(compression={"encodings": ["gzip"], "types": [kind]})
