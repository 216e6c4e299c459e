"""The room for buffers: where its files are, what a reload changes, and what is said of a disk that refuses them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from lbflask.config.schema import Config
from lbflask.core.buffering import BufferLimits
from lbflask.core.reserves import Use
from lbflask.upstream.spool import StoredBody
from lbflask.wiring import buffers
from tests.support.pool_routes import with_routes


def config(**settings: Any) -> Config:
    return Config.model_validate({"backends": ["http://a:1"], **settings})


def test_files_are_where_the_operator_or_the_environment_wants_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = config(buffering={"requests": 1, "directory": str(tmp_path)}).buffering
    assert buffers.spool_folder(given) == str(tmp_path)
    monkeypatch.delenv("TMPDIR", raising=False)
    usual = "/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir()
    assert buffers.spool_folder(config().buffering) == usual
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert buffers.spool_folder(config().buffering) == str(tmp_path)


def test_a_reload_bounds_the_same_room_anew(tmp_path: Path) -> None:
    store = buffers.buffer_store(config(buffering={"requests": 1, "memory": 10}))
    body = StoredBody(store, BufferLimits(100))
    assert body.add(b"x" * 10)
    assert not body.add(b"x")
    buffers.apply_config(store, config(buffering={"requests": 1, "memory": 20, "directory": str(tmp_path)}))
    assert body.add(b"x" * 10)
    assert store.memory == 20
    assert str(tmp_path) in repr(store)
    body.close()


def test_a_disk_that_refuses_is_logged_with_its_consequence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    store = buffers.buffer_store(config(buffering={"requests": 1, "directory": str(folder)}))
    folder.rmdir()
    body = StoredBody(store, BufferLimits(0, 100))
    assert not body.add(b"hello")
    assert not body.add(b"hello")
    (record,) = caplog.records
    assert record.message == (
        "a body can't be buffered in a file: no such file or directory: "
        "a body streams instead, and its client may hold a backend"
    )
    samples = {(metric.name, labels): value for metric, labels, value in buffers.buffer_gauges(store)()}
    assert samples == {
        ("buffered_bytes", ("memory",)): 0,
        ("buffered_bytes", ("file",)): 0,
        ("spool_failures", ()): 2,
    }


@pytest.mark.parametrize(
    ("settings", "watched"),
    [
        ({}, False),
        ({"buffering": {"requests": 1}}, True),
        ({"pools": {"web": {"backends": ["http://b:1"], "buffering": {"responses": 1}}}}, True),
        ({"routes": [{"name": "a", "pool": "default", "buffering": {"responses": 1}}]}, True),
        ({"buffering": {"least_request_rate": 1}}, False),
    ],
)
def test_the_room_on_the_disk_is_watched_where_bodies_are_buffered(settings: dict[str, Any], watched: bool) -> None:
    assert [use for use, _ in buffers.spool_place(config(**with_routes(settings)))] == [Use.SPOOL] * watched
