"""Sizes and times with their units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lbflask.config.attribute_docstrings import attribute_docstrings
from lbflask.config.load import ConfigError, load
from lbflask.config.paths import type_of
from lbflask.config.schema import Config, tables_of
from lbflask.config.units import byte_count, second_count
from tests.support.changes import property_test

test_any_value_is_a_setting_or_rejected = property_test("setting")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0), ("8190", 8190), ("1b", 1), ("1k", 1024), ("512KiB", 524_288), ("25m", 26_214_400),
        ("25M", 26_214_400), ("1MiB", 1_048_576), ("1MB", 1_000_000), ("2kb", 2000),
        ("1GiB", 1 << 30), ("1g", 1 << 30), ("1GB", 10**9),
    ],
)  # fmt: skip
def test_a_size_is_bytes(text: str, count: int) -> None:
    assert byte_count(text) == count


@pytest.mark.parametrize(
    "text", ["", "m", "-1", "1.5m", "25 m", "25Q", "1MiBs", "\u0661m", "1" * 19, "1m1k", "0x10", "1mi"]
)
def test_other_texts_are_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="must be bytes: a number, or a text such as"):
        byte_count(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("60", 60), ("0.5", 0.5), ("-3", -3), ("60s", 60), ("250ms", 0.25), ("1m30s", 90), ("1.5h", 5400),
        ("1d", 86_400), ("1h1m1s1ms", 3661.001),
    ],
)  # fmt: skip
def test_a_time_is_seconds(text: str, count: float) -> None:
    assert second_count(text) == pytest.approx(count)


@pytest.mark.parametrize(
    "text", ["", "s", "60 s", "60 seconds", "1y", "1M", "nan", "inf", "1e3", "1s-", "1h 1m", "\u0663s"]
)
def test_other_texts_are_no_times(text: str) -> None:
    with pytest.raises(ValueError, match="must be seconds: a number, or a text such as"):
        second_count(text)


@pytest.mark.parametrize("value", [None, 5, 2.5, True, [1], {"a": 1}])
def test_what_is_no_text_is_for_the_type(value: Any) -> None:
    assert byte_count(value) == value
    assert second_count(value) == value


def test_settings_take_units_in_the_file_and_in_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "lbflask.toml"
    file.write_text(
        "backends = ['http://a:1']\nslow_start = '1m'\n"
        "[limits]\nbody = '25m'\nunsent = '64KiB'\n[health]\ninterval = '500ms'\n"
        "[[routes]]\nname = 'a'\npool = 'default'\ntimeouts = { first_byte = '10m' }\nlimits = { body = '1GiB' }\n"
    )
    config = load({"LBFLASK_CONFIG": str(file), "LBFLASK_TIMEOUTS__CONNECT": "750ms", "LBFLASK_LIMITS__LINE": "4KiB"})
    assert (config.limits.body, config.limits.unsent, config.limits.line) == (26_214_400, 65_536, 4096)
    assert (config.slow_start, config.health.interval, config.timeouts.connect) == (60, 0.5, 0.75)
    effective = config.traffic("default", config.routes[0])
    assert (effective.timeouts.first_byte, effective.limits.body) == (600, 1 << 30)


def test_the_bounds_of_a_setting_hold_in_any_unit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="less than or equal to 86400"):
        load({"LBFLASK_CONFIG": "/dev/null", "LBFLASK_BACKENDS": "http://a:1", "LBFLASK_TIMEOUTS__CONNECT": "2d"})


def test_each_setting_in_seconds_or_bytes_takes_a_unit() -> None:
    """By its meaning, which begins with its unit."""
    for name, kind in {"": Config, **tables_of(Config)}.items():
        for key, meaning in attribute_docstrings(kind).items():
            if meaning.startswith(("Seconds", "Bytes", "Maximum bytes", "Maximum seconds", "Minimum seconds")):
                shown = repr(type_of(kind.model_fields[key]))
                assert "second_count" in shown or "byte_count" in shown, f"{name}.{key}: {meaning}"
