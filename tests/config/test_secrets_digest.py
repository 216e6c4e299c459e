"""Instances compare their secrets by a digest that is slow and public."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lbflask.config.schema import Config
from lbflask.config.secrets_digest import secrets_digest
from tests.support.pool_routes import with_routes

SECRET, OTHER = "correct horse battery", "staple staple staple"
ROUTE = {"name": "r", "pool": "default"}
TOKEN = "operator:alice:0123456789abcdef"


def digest(namespace: str = "n", **settings: Any) -> str:
    return secrets_digest(Config.model_validate(with_routes({"backends": ["http://a:1"], **settings})), namespace)


def test_settings_without_secrets_have_none() -> None:
    assert digest() == ""
    harmless = {"match": {"headers": {"X-A": True}}, "request_headers": {"set": {"Accept": "text/plain"}}}
    assert digest(redis_url="redis://h:1/0", health={"headers": ["User-Agent: lb"]}) == ""
    assert digest(routes=[ROUTE | harmless]) == digest(routes=[ROUTE | harmless])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"redis_url": "redis://:one@h"}, {"redis_url": "redis://:two@h"}),
        ({"admin": {"tokens": [TOKEN]}}, {"admin": {"tokens": [TOKEN + "0"]}}),
        (
            {"routes": [ROUTE | {"request_headers": {"set": {"Authorization": "a"}}}]},
            {"routes": [ROUTE | {"request_headers": {"set": {"Authorization": "b"}}}]},
        ),
        ({"health": {"headers": ["Authorization: a"]}}, {"health": {"headers": ["Authorization: b"]}}),
        ({"sticky": {"cookie": "S", "secrets": [SECRET]}}, {"sticky": {"cookie": "S", "secrets": [OTHER]}}),
        (
            {"sticky": {"cookie": "S", "secrets": [SECRET, OTHER]}},
            {"sticky": {"cookie": "S", "secrets": [OTHER, SECRET]}},  # the first one signs
        ),
        (
            {"pools": {"p": {"backends": ["http://b:1"], "sticky": {"cookie": "S", "secrets": [SECRET]}}}},
            {"pools": {"p": {"backends": ["http://b:1"], "sticky": {"cookie": "S", "secrets": [OTHER]}}}},
        ),
    ],
)
def test_each_secret_counts_wherever_it_is(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert digest(**one) == digest(**one) != digest(**other)
    assert len(digest(**one)) == 32


def test_the_file_of_secrets_counts_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    found = []
    for content in (SECRET, SECRET + "\n\n", OTHER):
        file.write_text(content)
        found.append(digest(sticky={"cookie": "S", "secret_file": str(file)}))
    assert found[0] == found[1] != found[2]


def test_fleets_with_the_same_secrets_have_different_digests() -> None:
    """So a table of guesses is of use against one fleet only."""
    assert digest("one", redis_url="redis://:x@h") != digest("two", redis_url="redis://:x@h")
