"""What a reload may exchange in place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from lbflask.config.diff import BY_NEW_WORKERS, Difference, difference
from lbflask.config.listeners import ListenerConfig
from lbflask.config.schema import Config
from lbflask.server import gunicorn_hooks
from tests.support.pool_routes import with_routes


def config(**values: Any) -> Config:
    return Config.model_validate(with_routes({"backends": ["http://a:1"], "admin_bind": "127.0.0.1:0", **values}))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {}, Difference()),
        ({"via": "lbflask"}, {}, Difference()),  # said or not, it is the same
        ({}, {"backends": ["http://a:1", "http://b:1"]}, Difference(("backends",))),
        (
            {},
            {"timeouts": {"connect": 1.0, "first_byte": 2.0}},
            Difference(("timeouts.connect", "timeouts.first_byte")),
        ),
        ({}, {"pools": {"api": {"backends": ["http://c:1"]}}}, Difference(("pools.api", "routes"))),
        ({"pools": {"api": {"backends": ["http://c:1"]}}}, {}, Difference(("pools.api", "routes"))),
        (
            {"pools": {"api": {"backends": ["http://c:1"]}}},
            {"pools": {"api": {"backends": ["http://c:1"], "health": {"rise": 5}}}},
            Difference(("pools.api.health.rise",)),
        ),
        (
            {},
            {"bind": ["h:1"], "redis_url": "redis://h", "strategy": "first", "limits": {"line": 300, "body": 1}},
            Difference(("limits.body", "strategy"), ("bind", "limits.line", "redis_url")),
        ),
    ],
)
def test_keys_are_told_whose_values_differ(before: dict[str, Any], after: dict[str, Any], told: Difference) -> None:
    assert difference(config(**before), config(**after)) == told


def other(value: Any) -> Any:
    """Another value of its kind; whether it would be allowed does not matter here."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case None:
            return 17.0
        case str():
            return value + "9"
        case tuple():
            return (*value, *value)
        case _:
            return {}


def variations(table: BaseModel, where: str = "") -> Iterator[tuple[str, BaseModel]]:
    """The table with one value changed, for each setting in it."""
    for name in type(table).model_fields:
        value = getattr(table, name)
        if isinstance(value, BaseModel):
            for key, inner in variations(value, f"{where}{name}."):
                yield key, table.model_copy(update={name: inner})
        elif name == "listeners":
            yield name, table.model_copy(update={name: (ListenerConfig(bind="127.0.0.1:1"),)})
        else:
            yield f"{where}{name}", table.model_copy(update={name: other(value)})


def test_whatever_gunicorn_is_told_takes_new_workers() -> None:
    usual = config(tls={})
    told = gunicorn_hooks._settings_of(usual)
    late = set()
    for key, changed in variations(usual):
        assert isinstance(changed, Config)
        if gunicorn_hooks._settings_of(changed) != told:
            late.add(key)
            assert difference(usual, changed).by_new_workers == (key,)
    tables = {key if key in BY_NEW_WORKERS else key.partition(".")[0] for key in late}
    begun_with = {"error_log_format", "instance", "metrics", "namespace", "redis_url", "tls.acme", "tls.minimum"}
    assert BY_NEW_WORKERS - tables == begun_with, "the others are what a worker begins with"


def test_what_differs_only_in_a_file_of_secrets_is_told_as_its_table(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    found = []
    for secret in ("a", "b"):
        file.write_text(secret * 40)
        found.append(config(sticky={"cookie": "s", "secret_file": str(file)}))
    assert difference(*found) == Difference(("sticky",))
