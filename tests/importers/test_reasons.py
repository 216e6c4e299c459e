"""What findings state: the settings and pages that they name exist, and nothing is called missing that is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from devtools.environment import ROOT
from lbflask.config.schema import Config
from tests.docs.settings import is_setting

SOURCES = sorted((ROOT / "lbflask" / "importers").rglob("*.py"))
#: First parts of names with dots that are settings of lbflask; `tls.` also begins variables and names of Traefik.
_TABLES = frozenset(Config.model_fields) | {"match", "files", "respond", "redirect", "rewrite"}
_NO_SETTINGS = frozenset({"tls.certificates", "tls.version", "tls.client_subject", "tls.options"})
#: What is not here: all other words before "not here" would be a mistake, or belong into this list.
_NOT_HERE = (
    "a response cache",
    "FastCGI",
    "gRPC",
    "UDP",
    "mail",
    "lists of files",
    "filters",
    "uploads",
    "the file",
    "the snippet or file",
)


def texts(path: Path) -> list[str]:
    """The constant texts of a module but its docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


def unknown_settings(text: str) -> list[str]:
    """The names with dots, and the tables in brackets, that no setting has."""
    named = re.findall(r"(?<![\w./-])([a-z][a-z_]*(?:\.[a-z_]+)+)(?![\w./(-])", text)
    named = [name for name in named if name.split(".")[0] in _TABLES and name not in _NO_SETTINGS]
    named += re.findall(r"(?:^|[\s(])\[\[?([a-z][a-z_.]*(?:NAME)?[a-z_.]*)\]", text)
    return [name for name in named if not is_setting(name)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "lbflask" / "importers")))
def test_settings_and_pages_that_a_finding_names_exist(path: Path) -> None:
    found = texts(path)
    assert [(text, name) for text in found for name in unknown_settings(text)] == []
    pages = [page for text in found for page in re.findall(r"docs/[\w/-]+\.md", text)]
    assert [page for page in pages if not (ROOT / page).exists()] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "lbflask" / "importers")))
def test_only_what_is_missing_is_called_so(path: Path) -> None:
    claims = [text for text in texts(path) if "not here" in text]
    assert [text for text in claims if not re.search(f"({'|'.join(_NOT_HERE)}) (is|are) not here", text)] == []


def test_a_finding_about_an_unknown_setting_is_noticed() -> None:
    assert unknown_settings(
        "limits.per_clients for all requests; [bakend_tls], tls.acme.domains, [pools.NAME.health]"
    ) == [
        "limits.per_clients",
        "bakend_tls",
    ]
