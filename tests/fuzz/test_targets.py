from __future__ import annotations

import ast
import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

from devtools.environment import ROOT
from fuzz.targets import CORPORA, NO_PARSERS, TARGETS
from tests.test_layers import sources

#: Libraries and functions by which a module reads a text or bytes.
READERS = frozenset(
    {"re", "regex", "json", "tomllib", "struct", "httptools", "ipaddress", "urllib", "string", "pickle"}
)
HYPOTHESIS = re.compile(r'^test_\w+ = property_test\("(\w+)"\)$', re.MULTILINE)


def mirror(module: str) -> Path:
    """The test file of a module."""
    *folders, name = module.split(".")[1:]
    return Path("tests", *folders, f"test_{name}.py")


@pytest.mark.parametrize("name", TARGETS)
def test_each_parser_exists_and_its_property_is_tested_in_its_test_file(name: str) -> None:
    target = TARGETS[name]
    assert callable(target.load())
    for parser in target.parsers:
        assert resolve_name(parser) is not None
    for module in target.modules():
        file = ROOT / mirror(module)
        assert file.exists(), f"{module} has no test file"
        assert name in HYPOTHESIS.findall(file.read_text("utf-8")), f"{file} does not test the property {name!r}"


def test_each_test_of_a_property_is_of_a_target() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        assert set(HYPOTHESIS.findall(path.read_text("utf-8"))) <= TARGETS.keys(), path


def readers(source: str) -> set[str]:
    """The libraries that read texts or bytes and that a module imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names & READERS


def test_each_module_that_reads_a_text_is_in_the_table_or_has_a_reason_not_to_be() -> None:
    listed = {module for target in TARGETS.values() for module in target.modules()}
    reading = {module for module, source in sources().items() if readers(source)}
    assert sorted(module for modules in NO_PARSERS.values() for module in modules) == sorted(reading - listed)


def test_a_module_that_reads_a_text_is_found() -> None:
    assert readers("import re\nfrom urllib.parse import quote\nimport os") == {"re", "urllib"}
    assert readers("from lbflask.core import re") == set()


def test_each_corpus_is_of_a_target() -> None:
    assert {path.name for path in CORPORA.iterdir()} == TARGETS.keys()
