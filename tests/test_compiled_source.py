"""What setup.py compiles, and forms of the source that mypyc compiles to something else than Python."""

from __future__ import annotations

import ast
import builtins
import re
import runpy
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from devtools.environment import ROOT
from devtools.locks import NAMED, PYPROJECT, pins
from lbflask.build import Build, build
from lbflask.core import faults

#: Calls that may be in the bounds of a slice, since evaluating them twice gives the same.
PURE = frozenset({"_bounds", "end", "index", "len", "min", "rfind", "rindex", "start"})
#: Errors that any error may stand for: compiled code does not check the classes of the standard library.
BUILT_IN = frozenset(name for name, value in vars(builtins).items() if isinstance(value, type))


@pytest.fixture(scope="module")
def setup() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "setup.py"))


def compiled(setup: dict[str, Any]) -> list[str]:
    return [file for files, _ in setup["groups"]() for file in files]


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)


def bounds_with_effects(tree: ast.AST) -> Iterator[str]:
    """Slices whose bounds call something that is not pure: mypyc calls it twice."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Slice):
            calls = [one for one in ast.walk(node) if isinstance(one, ast.Call)]
            if any(name_of(call) not in PURE for call in calls) or any(
                isinstance(one, ast.NamedExpr) for one in ast.walk(node)
            ):
                yield ast.unparse(node)


def errors_of_two_classes(tree: ast.AST) -> Iterator[str]:
    """Names that a function gives to errors of two classes: mypyc requires the class of the first from the second."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            kinds: defaultdict[str, list[str]] = defaultdict(list)
            for node in ast.walk(function):
                if isinstance(node, ast.ExceptHandler) and node.name and node.type is not None:
                    kinds[node.name].append(ast.unparse(node.type))
            yield from (
                f"{function.name}: {name}"
                for name, found in kinds.items()
                if len(set(found)) > 1 and found[0] not in BUILT_IN
            )


def defaults_that_are_lost(tree: ast.AST) -> Iterator[str]:
    """Attributes of a union of three with None as the default of the class: mypyc leaves them undefined."""
    for kind in ast.walk(tree):
        if isinstance(kind, ast.ClassDef) and not kind.decorator_list:  # a dataclass sets its defaults itself
            for node in kind.body:
                if (
                    isinstance(node, ast.AnnAssign)
                    and isinstance(node.value, ast.Constant)
                    and node.value.value is None
                ):
                    union = node.annotation
                    if isinstance(union, ast.BinOp) and isinstance(union.left, ast.BinOp):
                        yield f"{kind.name}: {ast.unparse(node.target)}"


def surrogates(tree: ast.AST) -> Iterator[str]:
    """Literals with surrogates: mypyc refuses them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from (ascii(sign) for sign in node.value if 0xD800 <= ord(sign) <= 0xDFFF)


@pytest.mark.parametrize("find", [bounds_with_effects, errors_of_two_classes, defaults_that_are_lost, surrogates])
def test_nothing_is_compiled_to_something_else(setup: dict[str, Any], find: Callable[[ast.AST], Iterator[str]]) -> None:
    found = {file: list(find(ast.parse((ROOT / file).read_text("utf-8")))) for file in compiled(setup)}
    assert {file: texts for file, texts in found.items() if texts} == {}


def generators(tree: ast.AST) -> Iterator[str]:
    """The names of functions that are generators."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and any(
            isinstance(one, ast.Yield | ast.YieldFrom) for one in ast.walk(node)
        ):
            yield node.name


def asked_of(tree: ast.AST, names: set[str]) -> Iterator[str]:
    """Memberships that are asked of what these functions return, or of a list that unpacks something."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for sign, of in zip(node.ops, node.comparators, strict=True):
                unpacks = isinstance(of, ast.List | ast.Tuple | ast.Set) and any(
                    isinstance(one, ast.Starred) for one in of.elts
                )
                asks = isinstance(of, ast.Call) and name_of(of) in names
                if isinstance(sign, ast.In | ast.NotIn) and (unpacks or asks):
                    yield ast.unparse(node)


def test_no_membership_is_asked_of_a_generator(setup: dict[str, Any]) -> None:
    """Compiled ones have none: it would be an AttributeError. A list that unpacks one crashes the compiler."""
    trees = {file: ast.parse((ROOT / file).read_text("utf-8")) for file in compiled(setup)}
    names = {name for tree in trees.values() for name in generators(tree)}
    assert {file: texts for file, tree in trees.items() if (texts := list(asked_of(tree, names)))} == {}
    made = ast.parse("def f():\n    yield 1\na = 1 in f()\nb = 1 in [*f()]\nc = 1 in list(f())")
    assert list(asked_of(made, set(generators(made)))) == ["1 in f()", "1 in [*f()]"]


def test_the_checks_find_what_they_are_for() -> None:
    assert list(bounds_with_effects(ast.parse("rest = rest[send(rest):]"))) == ["send(rest):"]
    assert list(surrogates(ast.parse(r"a = '\ud800b'"))) == [r"'\ud800'"]
    two = "def f():\n    try:\n        g()\n    except A as e:\n        pass\n    except B as e:\n        pass"
    assert list(errors_of_two_classes(ast.parse(two))) == ["f: e"]
    assert list(defaults_that_are_lost(ast.parse("class C:\n    a: A | None = None\n    b: A | B | None = None"))) == [
        "C: b"
    ]


def test_each_file_that_stays_python_exists_and_all_others_are_compiled(setup: dict[str, Any]) -> None:
    files = compiled(setup)
    assert [file for file in setup["INTERPRETED"] if not (ROOT / file).exists()] == []
    assert len(files) == len(set(files)) > 100
    assert set(files) & setup["INTERPRETED"] == set()


@pytest.mark.parametrize("command", [["setup.py", "editable_wheel"], ["setup.py", "sdist"]])
def test_only_a_wheel_is_compiled(setup: dict[str, Any], command: list[str]) -> None:
    assert setup["extensions"]("1", command) == []
    assert setup["extensions"]("0", ["setup.py", "bdist_wheel"]) == []


def test_pip_installs_mypy_for_a_build_that_compiles(setup: dict[str, Any]) -> None:
    required, question = setup["build_requirements"], ["setup.py", "egg_info"]
    assert required("1", question, ["mypy"]) == ["mypy"]
    assert required("auto", question, ["mypy"]) == (["mypy"] if setup["compiles"]() else [])
    assert required("0", question, ["mypy"]) == []
    assert required("1", ["setup.py", "bdist_wheel"], ["mypy"]) == []


def test_without_a_compiler_a_wheel_is_built_as_python(
    setup: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "/nonexistent/cc")
    assert setup["build_requirements"]("auto", ["setup.py", "egg_info"], ["mypy"]) == []
    assert setup["extensions"]("auto", ["setup.py", "bdist_wheel"]) == []
    assert "lbflask is built as Python: the compiled build needs a C compiler" in capfd.readouterr().err
    with pytest.raises(SystemExit, match="LBFLASK_COMPILE=1: the compiled build needs a C compiler"):
        setup["extensions"]("1", ["setup.py", "bdist_wheel"])


def test_the_wheels_of_a_release_are_compiled_for_each_supported_version_of_python() -> None:
    settings = PYPROJECT["tool"]["cibuildwheel"]
    supported = re.findall(r"Python :: (3\.\d+)$", "\n".join(PYPROJECT["project"]["classifiers"]), re.MULTILINE)
    assert settings["build"] == [f"cp{version.replace('.', '')}-*" for version in supported]
    assert settings["linux"]["archs"] == ["x86_64", "aarch64"]
    assert settings["environment"] == {"LBFLASK_COMPILE": "1"}
    # Without isolation, what pyproject.toml and setup.py require is installed before: base has what the others share.
    assert "--no-isolation" in settings["build-frontend"]["args"]
    locks = re.findall(r"locks/(\w+)\.txt", settings["before-build"])
    installed = {canonicalize_name(pin.name) for lock in locks for pin in pins(lock)}
    required = (*NAMED["build"], *NAMED["compile"], "mypy_extensions")
    assert installed >= {canonicalize_name(Requirement(text).name) for text in required}


def test_a_compiled_wheel_has_each_module_of_the_hot_path_compiled(setup: dict[str, Any]) -> None:
    modules = [file.removesuffix(".py").replace("/", ".") for file in compiled(setup)]
    kinds = {Path(str(find_spec(module).origin)).suffix for module in modules}
    assert kinds == ({".py"} if build() is Build.PYTHON else {".so"})


def test_another_value_of_the_variable_is_refused(setup: dict[str, Any]) -> None:
    with pytest.raises(SystemExit, match="LBFLASK_COMPILE must be 0, 1 or auto, not 'yes'"):
        setup["extensions"]("yes", ["setup.py", "bdist_wheel"])


def test_the_build_is_that_of_the_files() -> None:
    assert build() is (Build.PYTHON if Path(faults.__file__).suffix == ".py" else Build.COMPILED)
