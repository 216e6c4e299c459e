"""The reference page of all settings, docs/configuration.md."""

from __future__ import annotations

import os

from pydantic import BaseModel

from docs.generate import configuration_page
from lbflask.config.attribute_docstrings import attribute_docstrings
from lbflask.config.backends import BackendConfig
from lbflask.config.bans import BanRuleConfig
from lbflask.config.load import ConfigError, load
from lbflask.config.rate_limits import RateLimitConfig
from lbflask.config.schema import Config, tables_of
from tests.test_public_names import sections


def test_the_documentation_names_every_setting_with_its_variable_and_meaning() -> None:
    page = configuration_page()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for name, field in Config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            assert f"## `[{name}]`" in page
            meanings = attribute_docstrings(kind)
            inner = {f"{name}__{key}": meanings[key] for key in kind.model_fields if key not in tables_of(kind)}
            for key, table in tables_of(kind).items():
                assert f"## `[{name}.{key}]`" in page
                inner |= {f"{name}__{key}__{one}": text for one, text in attribute_docstrings(table).items()}
        elif name in (titles := {"pools": "[pools.NAME]", "listeners": "[[listeners]]", "routes": "[[routes]]"}):
            assert f"## `{titles[name]}`" in page
            inner = {}
        elif name in (named := {"rate_limits": RateLimitConfig, "bans": BanRuleConfig}):
            meanings, table = attribute_docstrings(named[name]), named[name]
            inner = {f"{name}__NAME__{one.alias or key}": meanings[key] for key, one in table.model_fields.items()}
        else:
            inner = {name: attribute_docstrings(Config)[name]}
        for key, meaning in inner.items():
            (row,) = [row for row in rows if f"| `LBFLASK_{key.upper()}` |" in row]
            assert row.startswith(f"| `{key.rpartition('__')[2]}` |")
            assert row.endswith(f"| {meaning} |")
    for name in BackendConfig.model_fields:
        assert f"| `{name}` |" in page.partition("## A backend")[2]


def test_every_table_that_a_file_can_have_is_on_the_page() -> None:
    """Also those within tables, such as `[auth.basic]`, and those of lists, such as `response_headers.when`."""
    rows = [line.split(" | ") for line in configuration_page().splitlines() if line.startswith("| `")]
    known = {(row[0].removeprefix("| "), row[-1].removesuffix(" |")) for row in rows}
    reached: set[type[BaseModel]] = set()
    queue: list[type[BaseModel]] = [Config]
    while queue:
        if (kind := queue.pop()) not in reached:
            reached.add(kind)
            queue += [inner for field in kind.model_fields.values() for inner in sections(field.annotation)]
    missing = {
        f"{kind.__name__}.{name}"
        for kind in reached
        for name, field in kind.model_fields.items()
        if not [*sections(field.annotation)]
        and (f"`{field.alias or name}`", attribute_docstrings(kind)[name]) not in known
    }
    assert missing == set()


def complaint(environ: dict[str, str]) -> str:
    try:
        load(environ)
    except ConfigError as error:
        return str(error)
    return ""


def test_every_documented_variable_is_read() -> None:
    rows = [line for line in configuration_page().splitlines() if line.startswith("| `") and "LBFLASK_" in line]
    variables = [row.split("`")[3] for row in rows]
    assert len(variables) > 30
    for variable in variables:
        message = complaint({"LBFLASK_CONFIG": os.devnull, "LBFLASK_BACKENDS": "http://a:1", variable: "1"})
        assert "there is no setting" not in message
    assert "there is no setting" in complaint({"LBFLASK_CONFIG": os.devnull, variables[0] + "X": "1"})
