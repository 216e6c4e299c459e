"""A worker's telemetry, as a configuration wants it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lbflask.config.load import ConfigError
from lbflask.config.schema import Config
from lbflask.config.show import version
from lbflask.wiring.telemetry import Telemetry
from tests.telemetry.events import event


def config(**settings: Any) -> Config:
    return Config.model_validate({"backends": ["http://a:1"], "access_log": "", "metrics": False, **settings})


@contextmanager
def running(settings: Config) -> Iterator[Telemetry]:
    telemetry = Telemetry(settings)
    telemetry.start()
    try:
        yield telemetry
    finally:
        telemetry.stop()


def tell(telemetry: Telemetry, target: str) -> None:
    for listener in telemetry.listeners:
        listener(event(target=target))


def test_what_is_not_configured_is_told_of_nothing() -> None:
    telemetry = Telemetry(config())
    assert (telemetry.listeners, telemetry.trip, telemetry.hooks, telemetry.tracing) == ((), None, None, None)
    assert not telemetry.counts


def test_metrics_need_a_listener_that_answers_them() -> None:
    assert Telemetry(config(metrics=True)).counts
    assert not Telemetry(config(metrics=True, admin_bind="")).counts


def test_a_scrape_without_a_shared_directory_tells_of_this_worker() -> None:
    with running(config(metrics=True)) as telemetry:
        tell(telemetry, "/")
        page = telemetry.page([]).decode()
        directory = telemetry.directory
    assert 'lbflask_requests_total{backend="web-1",code="2xx",method="GET",pool="default"} 1.0' in page
    assert f'lbflask_config_info{{version="{version(config(metrics=True))}"}} 1.0' in page
    assert directory is not None
    assert not directory.exists()


def test_another_log_is_taken_up_without_losing_a_line(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with running(config(access_log=str(first))) as telemetry:
        tell(telemetry, "/1")
        telemetry.apply(config(access_log=str(second), access_log_format="json"))
        tell(telemetry, "/2")
        telemetry.apply(config())
        assert telemetry.listeners == ()
        telemetry.apply(config(access_log=str(first)))
        tell(telemetry, "/3")
    assert [line.split('"')[1].split()[1] for line in first.read_text().splitlines()] == ["/1", "/3"]
    assert [json.loads(line)["target"] for line in second.read_text().splitlines()] == ["/2"]


def test_a_log_that_cannot_be_opened_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with running(config(access_log=str(path))) as telemetry:
        with pytest.raises(FileNotFoundError):
            telemetry.apply(config(access_log=str(tmp_path / "missing" / "log")))
        tell(telemetry, "/1")
    assert "/1" in path.read_text()


def test_a_hook_that_cannot_be_loaded_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match="hooks: missing:x"):
        Telemetry(config(hooks=["missing:x"]))


def test_hooks_and_tracing_come_and_go_and_a_bad_one_changes_nothing() -> None:
    with running(config()) as telemetry:
        telemetry.apply(config(hooks=["tests.support.hooks:Raising"]))
        assert telemetry.hooks is not None
        assert len(telemetry.listeners) == 1
        with pytest.raises(ConfigError):
            telemetry.apply(config(hooks=["missing:x"]))
        assert telemetry.hooks is not None
        telemetry.apply(config())
        assert (telemetry.hooks, telemetry.listeners) == (None, ())
