"""A pool that gets neither requests nor connections is a mistake; each way to name one counts."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lbflask.config.schema import Config

WEB, API = {"backends": ["http://w:1"]}, {"backends": ["http://a:1"]}
TCP = {"backends": ["tcp://d:5432"]}


def made(**settings: Any) -> Config:
    return Config.model_validate({"backends": ["http://b:1"], **settings})


@pytest.mark.parametrize(
    "settings",
    [
        {"routes": [{"pool": "api"}]},
        {"routes": [{"split": {"default": 100, "api": 0}}]},
        {"routes": [{"pool": "default", "mirror": {"pool": "api"}}]},
        {"backends": []},  # the first pool has the requests then
        {"listeners": [{"bind": "h:1"}], "backends": []},
    ],
)
def test_a_pool_that_gets_requests_is_in_use(settings: dict[str, Any]) -> None:
    assert "api" in made(pools={"api": API}, **settings).pools


@pytest.mark.parametrize("listener", [{"tcp": "db"}, {"sni": {"a.example": "db"}}])
def test_a_pool_that_gets_connections_is_in_use(listener: dict[str, Any]) -> None:
    assert "db" in made(pools={"db": TCP}, listeners=[{"bind": "h:1", **listener}, {"bind": "h:2"}]).pools


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "pools.api: no route names it: add [[routes]] with a match and pool = 'api', or remove it"),
        ({"routes": [{"pool": "default"}]}, "pools.api: no route names it: add [[routes]] with a match"),
        ({"backends": [], "pools": {"web": WEB, "api": API}}, "pools.api: no route names it"),
        (
            {"pools": {"db": TCP}},
            "pools.db: no listener names it: set tcp = 'db' in one of [[listeners]], or remove it",
        ),
        (
            {"backends": [], "pools": {"db": TCP, "api": API}, "listeners": [{"bind": "h:1", "tcp": "db"}]},
            "pools.api: no route names it",
        ),
    ],
)
def test_a_pool_that_nothing_names_is_refused(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError) as refused:
        made(**{"pools": {"api": API}, **settings})
    assert expected in str(refused.value)
