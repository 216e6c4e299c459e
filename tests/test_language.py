"""The laws of names and of structure in CONTRIBUTING.md, held by the syntax trees of the package."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.test_layers import imported, sources

#: Words that docs/glossary.md replaces. No identifier has one of them as a part.
DIALECT = frozenset({"told", "tell", "tells", "say", "says", "look", "looks", "hear", "word", "who", "lately", "own"})


def nodes(modules: Mapping[str, str]) -> Iterator[tuple[str, ast.AST]]:
    for module, source in modules.items():
        for node in ast.walk(ast.parse(source)):
            yield module, node


def repeated_classes(modules: Mapping[str, str]) -> dict[str, list[str]]:
    """Each class name that several places define, with their modules."""
    places = defaultdict(list)
    for module, node in nodes(modules):
        if isinstance(node, ast.ClassDef):
            places[node.name].append(module)
    return {name: where for name, where in places.items() if len(where) > 1}


def cycle(modules: Mapping[str, str]) -> list[str]:
    """Modules that import each other in a ring, also for the type checker only; empty for none."""
    graph = {
        module: {other for other in imported(module, source, modules) if other in modules and other != module}
        for module, source in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def identifiers(node: ast.AST) -> Iterator[str]:
    """The identifiers that a node introduces or uses."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.arg) or (isinstance(node, ast.keyword) and node.arg):
        yield node.arg
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.alias):
        yield from (node.asname or node.name).split(".")


def parts(identifier: str) -> list[str]:
    """The words of an identifier in either spelling."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier).lower().split("_")


def dialect(modules: Mapping[str, str]) -> set[str]:
    """Identifiers of the dialect, with their modules, and modules that are called so."""
    found = {
        f"{module}: {name}"
        for module, node in nodes(modules)
        for name in identifiers(node)
        if DIALECT.intersection(parts(name))
    }
    return found | {module for module in modules if DIALECT.intersection(re.split("[._]", module))}


def defined_attributes(modules: Mapping[str, str]) -> dict[str, set[str]]:
    """Attributes that classes of the package have, with the modules of these classes."""
    found = defaultdict(set)
    for module, node in nodes(modules):
        if isinstance(node, ast.ClassDef):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store) and is_self(inner.value):
                    found[inner.attr].add(module)
                elif isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
                    found[inner.target.id].add(module)
    return found


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def made_by_libraries(source: str) -> set[tuple[int, str]]:
    """Lines of functions, with each variable that holds the result of a call of a library: its class is not ours."""
    tree = ast.parse(source)
    libraries = {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
        if not (node.module or "" if isinstance(node, ast.ImportFrom) else alias.name).startswith("lbflask")
    }
    return {
        (line, target.id)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func).partition(".")[0] in libraries
        for target in node.targets
        if isinstance(target, ast.Name)
        for line in range(function.lineno, (function.end_lineno or 0) + 1)
    }


def set_from_outside(modules: Mapping[str, str]) -> list[str]:
    """Assignments to an attribute of an object whose class another module of the package defines.

    A module may keep records of a private class up to date: it alone owns them.
    """
    attributes = defined_attributes(modules)
    foreign = {module: made_by_libraries(source) for module, source in modules.items()}
    return [
        f"{module}:{node.lineno}: {ast.unparse(node)}"
        for module, node in nodes(modules)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, (ast.Store, ast.Del))
        and not is_self(node.value)
        and attributes.get(node.attr)
        and module not in attributes[node.attr]
        and (node.lineno, ast.unparse(node.value)) not in foreign[module]
    ]


def test_class_names_are_unique() -> None:
    assert repeated_classes(sources()) == {}


def test_no_modules_import_each_other_in_a_ring() -> None:
    assert cycle(sources()) == []


def test_identifiers_are_terms_of_the_field() -> None:
    assert dialect(sources()) == set()


def test_objects_are_complete_when_constructed() -> None:
    assert set_from_outside(sources()) == []


@pytest.mark.parametrize(
    ("source", "law"),
    [
        ("class A: ...\ndef f():\n    class A: ...", repeated_classes),
        ("def who_knows(): ...", dialect),
        ("x.told = 1", dialect),
        ("def f(*, say): ...", dialect),
        ("f(word=1)", dialect),
        ("class OwnAnswers: ...", dialect),
        ("from a import b as looks", dialect),
    ],
)
def test_a_breach_is_noticed(source: str, law: object) -> None:
    assert callable(law)
    assert law({"lbflask.core.x": source})


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n    def __init__(self): self.b = 1\nclass B:\n    def __init__(self): self.b = 1",
        "password, whole, ownership = 1, 2, 3",
        "def f(session): session.trust_env = False",
        "class A:\n    b: int\ndef f(a): a.b = 2",
        "import ssl\ndef f():\n    context = ssl.create_default_context()\n    context.b = 1",
    ],
)
def test_what_the_laws_allow_passes(source: str) -> None:
    modules = {"lbflask.core.x": source}
    assert not repeated_classes(modules)
    assert not dialect(modules)
    assert not set_from_outside(modules)


@pytest.mark.parametrize("line", ["a.b = 2", "self.a.b += 2", "del a.b", "a.b: int = 2", "a.b, c = 1, 2"])
@pytest.mark.parametrize("defined", ["class A:\n    def __init__(self): self.b = 1", "class A:\n    b: int"])
def test_an_attribute_that_another_module_sets_is_noticed(defined: str, line: str) -> None:
    assert set_from_outside({"lbflask.core.x": defined, "lbflask.core.y": line})


def test_a_ring_is_noticed_also_for_the_type_checker_only() -> None:
    modules = {
        "lbflask.core.a": "from lbflask.core.b import B",
        "lbflask.core.b": "if TYPE_CHECKING:\n    from lbflask.core.a import A",
    }
    assert set(cycle(modules)) == set(modules)
