"""Buffers as they are configured: sizes with units, levels, and what a pool without any has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lbflask.config.buffering import BufferingConfig
from lbflask.config.load import ConfigError, load
from lbflask.config.schema import Config
from lbflask.core.buffering import BodyRates, BufferingPolicy, BufferLimits
from lbflask.wiring.pipelines import proxy_settings

SPOOL = 100 << 20


def config(**settings: Any) -> Config:
    return Config.model_validate({"backends": ["http://a:1"], **settings})


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (0, 0),
        (1000, 1000),
        ("1000", 1000),
        ("0", 0),
        ("1MiB", 1 << 20),
        ("512KiB", 512 << 10),
        ("1GiB", 1 << 30),
        ("64k", 64 << 10),
        ("25m", 25 << 20),
        ("1mib", 1 << 20),
    ],
)
def test_a_size_is_a_number_or_has_a_unit(given: Any, size: int) -> None:
    assert BufferingConfig.model_validate({"requests": given}).requests == size


@pytest.mark.parametrize("given", ["", "1MB!", "MiB", "1.5MiB", "-1", "1TiB", "٣", "1 0k", "2GiB", -1, 1.5])
def test_another_size_is_refused(given: Any) -> None:
    with pytest.raises(ValidationError):
        BufferingConfig.model_validate({"requests": given})


def test_a_size_that_cannot_be_read_names_key_and_line_and_shows_others(tmp_path: Path) -> None:
    file = tmp_path / "lbflask.toml"
    file.write_text('backends = ["http://a:1"]\n[buffering]\nresponses = "a lot"\n')
    with pytest.raises(ConfigError) as caught:
        load({"LBFLASK_CONFIG": str(file)})
    message = str(caught.value)
    assert "lbflask.toml" in message
    assert "buffering.responses" in message
    assert "'512KiB', '25m'" in message


def test_nothing_is_buffered_by_default() -> None:
    assert BufferingConfig().policy() is None
    assert proxy_settings(config(), "default").buffering is None
    assert BufferingConfig(spool_requests=5, rate_grace=1).policy() is None


def test_each_direction_and_the_rates_are_for_themselves() -> None:
    assert BufferingConfig(requests=5).policy() == BufferingPolicy(requests=BufferLimits(5, SPOOL))
    assert BufferingConfig(responses=5, spool_responses=0).policy() == BufferingPolicy(responses=BufferLimits(5, 0))
    rates = BodyRates(100, 0, 7.0)
    assert BufferingConfig(least_request_rate=100, rate_grace=7).policy() == BufferingPolicy(rates=rates)


def test_a_route_overrides_its_pool_and_a_pool_the_top_level_key_by_key() -> None:
    made = config(
        buffering={"requests": "1MiB", "responses": "2MiB"},
        pools={"web": {"backends": ["http://b:1"], "buffering": {"requests": "3MiB"}}},
        routes=[
            {"name": "up", "pool": "web", "buffering": {"responses": 0, "spool_requests": 0}, "match": {"path": "/up"}},
            {"name": "rest", "pool": "web"},
        ],
    )
    up, rest = made.routes
    top = BufferingPolicy(BufferLimits(1 << 20, SPOOL), BufferLimits(2 << 20, SPOOL))
    assert proxy_settings(made, "default").buffering == top
    assert proxy_settings(made, "web", rest).buffering == BufferingPolicy(BufferLimits(3 << 20, SPOOL), top.responses)
    assert proxy_settings(made, "web", up).buffering == BufferingPolicy(BufferLimits(3 << 20, 0))


@pytest.mark.parametrize("key", ["memory", "spool", "directory"])
def test_what_all_buffers_share_belongs_to_the_top_level(key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        config(pools={"web": {"backends": ["http://b:1"], "buffering": {key: "1"}}})


def test_the_folder_must_be_one(tmp_path: Path) -> None:
    assert config(buffering={"requests": 1, "directory": str(tmp_path)}).buffering.directory == str(tmp_path)
    with pytest.raises(ValidationError, match=r"buffering\.directory: .* does not exist"):
        config(buffering={"directory": str(tmp_path / "none")})


def test_a_folder_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    file = tmp_path / "lbflask.toml"
    file.write_text('backends = ["http://a:1"]\n[buffering]\nrequests = 1\ndirectory = "spool"\n')
    assert load({"LBFLASK_CONFIG": str(file)}).buffering.directory == str(tmp_path / "spool")
