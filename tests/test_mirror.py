"""`tests/` mirrors `lbflask/`: the tests of a module are in the file of its name, and other files name their area."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.test_layers import ROOT

#: Packages whose modules all have a test file.
COMPLETE = ("core", "hooks")


def has_behaviour(source: str) -> bool:
    """Whether a function has a body: modules of constants, records and protocols need no tests."""
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.FunctionDef, ast.Lambda)))
    return any(isinstance(node, ast.Lambda) or not all(map(is_stub, node.body)) for node in functions)


def is_stub(node: ast.stmt) -> bool:
    """A docstring or `...`."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def untested(sources: Mapping[Path, str], tests: Sequence[Path]) -> list[str]:
    """The modules with behaviour, below `lbflask/`, that have no test file at the same place below `tests/`."""
    return [
        str(module)
        for module, source in sources.items()
        if module.stem not in ("__init__", "__main__")
        and module.with_name(f"test_{module.name}") not in tests
        and has_behaviour(source)
    ]


def without_subject(tests: Mapping[Path, str], modules: Sequence[Path]) -> list[str]:
    """The test files that neither mirror a module or package nor begin with a docstring, which names their area."""
    packages = {module.parent for module in modules} - {Path()}
    subjects = {*modules, *(package.with_suffix(".py") for package in packages)}
    return [
        str(test)
        for test, source in tests.items()
        if test.with_name(test.name.removeprefix("test_")) not in subjects
        and ast.get_docstring(ast.parse(source)) is None
    ]


def files(folder: str, pattern: str) -> dict[Path, str]:
    """The files below the folder by their places in it, with their texts."""
    return {path.relative_to(ROOT / folder): path.read_text("utf-8") for path in (ROOT / folder).rglob(pattern)}


@pytest.mark.parametrize("package", COMPLETE)
def test_each_module_has_its_test_file(package: str) -> None:
    modules = {path: source for path, source in files("lbflask", "*.py").items() if path.parts[0] == package}
    assert modules
    assert untested(modules, list(files("tests", "test_*.py"))) == []


def test_each_test_file_mirrors_a_module_or_names_its_area() -> None:
    others = [
        Path(folder, path) for folder in ("benchmarks", "chaos", "devtools", "fuzz") for path in files(folder, "*.py")
    ]
    assert without_subject(files("tests", "test_*.py"), [*files("lbflask", "*.py"), *others]) == []


def test_a_module_without_its_test_file_is_found() -> None:
    records = "class A(Protocol):\n def f(self) -> int:\n  '''Text.'''\n  ...\n"
    sources = {Path("core/a.py"): "def f(): return 1", Path("core/b.py"): records, Path("core/__init__.py"): ""}
    assert untested(sources, [Path("core/test_b.py")]) == ["core/a.py"]
    assert untested(sources, [Path("core/test_a.py")]) == []


def test_a_test_file_of_nothing_is_found() -> None:
    tests = {Path("core/test_a.py"): "", Path("core/test_b.py"): "", Path("core/test_c.py"): "'''Of an area.'''"}
    tests[Path("test_core.py")] = ""
    assert without_subject(tests, [Path("core/a.py")]) == ["core/test_b.py"]
