from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from lbflask.config import template
from lbflask.config.backends import BackendConfig
from lbflask.config.load import load
from lbflask.config.pools import PoolConfig
from lbflask.config.rate_limits import RateLimitConfig
from lbflask.config.routes import RouteConfig
from lbflask.config.schema import Config, tables_of
from tests.test_public_names import sections


def blocks() -> dict[str, str]:
    """The lines below each header of a table, which may be a comment; the top level is the block ""."""
    found = {"": ""}
    header = ""
    for line in template.text().splitlines():
        if match := re.fullmatch(r"(?:# )?\[+([a-z_.]+)\]+", line):
            header = match[1]
            assert header not in found, "each table occurs once"
            found[header] = ""
        found[header] += line + "\n"
    return found


def tables() -> Iterator[tuple[str, type[BaseModel]]]:
    yield "", Config
    yield "", BackendConfig
    yield from tables_of(Config).items()
    yield "rate_limits.api", RateLimitConfig
    yield "routes", RouteConfig
    for name, kind in template.tables_within(RouteConfig).items():
        yield f"routes.{name}", kind


@pytest.mark.parametrize(("header", "kind"), [*tables()])
def test_every_setting_occurs_with_its_meaning(header: str, kind: type[BaseModel]) -> None:
    found = blocks()
    for name, field in kind.model_fields.items():
        if (kind is Config or kind is RouteConfig) and list(sections(field.annotation)) and name != "backends":
            inner = [key for key in found if re.fullmatch(rf"(?:{header}\.)?{name}(?:\.api)?", key)]
            assert inner, name
        else:
            assert re.search(rf"^(?:# +)?{name} = ", found[header], re.MULTILINE), name
            words = " ".join(found[header].replace("\n#", "").split())
            assert " ".join((field.description or "missing").split()) in words


def test_no_kind_of_table_is_left_out() -> None:
    """Of a pool the file only names the keys, which are those of the top level."""
    known = {kind for _, kind in tables()} | {PoolConfig}
    reached, queue = set(), [Config]
    while queue:
        kind = queue.pop()
        if kind not in reached:
            reached.add(kind)
            queue += [inner for field in kind.model_fields.values() for inner in sections(field.annotation)]
    assert {kind.__name__ for kind in reached - known} == {"HealthCheckConfig"}  # the same keys as those of [health]


def test_as_written_it_gives_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "lbflask.toml"
    path.write_text(template.text(), "utf-8")
    config = load({"LBFLASK_CONFIG": str(path)})
    written = {name for name, value in tomllib.loads(template.text()).items() if value != {}}
    assert written == {"backends", "bind"}
    assert config.model_dump() == Config(backends=config.backends).model_dump()


def test_defaults_are_accepted_as_they_are_written(tmp_path: Path) -> None:
    lines = template.text().partition("\n# A pool of backends")[0].splitlines()
    in_effect = [re.sub(r"^# (?=[a-z_]+ = (?! \(unset\)))", "", line) for line in lines]
    path = tmp_path / "lbflask.toml"
    path.write_text("\n".join(line for line in in_effect if not line.startswith("redis_url")), "utf-8")
    config = load({"LBFLASK_CONFIG": str(path)})
    expected = Config(backends=config.backends, health={"kind": "http"})  # implied by the keys of requests
    assert config.model_dump() == expected.model_dump()
