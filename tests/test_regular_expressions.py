"""Every regular expression of the package takes time linear in what it is matched against, as nearly all meet bytes of
peers. They are found in the sources, with the methods that are called on them: a new one is tested without being named
here.

Judged by processor time, with a bound far above what a linear expression takes and far below what a quadratic one does.
"""

from __future__ import annotations

import ast
import gc
import importlib
import itertools
import re
import re._constants as opcodes  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.test_layers import sources

#: What is done with an expression, and takes a text.
METHODS = frozenset({"match", "fullmatch", "search", "findall", "finditer", "sub", "subn", "split"})
#: Bytes of the adversary's text, and seconds of processor time for it; fewer bytes have fewer, but at least so many.
SIZE = 64 * 1024
MOST_SECONDS = 0.5
LEAST_SECONDS = 0.06
#: Where an expression of users is compiled, by an engine that is bounded.
BOUNDED = {"lbflask.core.bounded_expression", "lbflask.core.linear_expression"}


class Use(NamedTuple):
    """An expression and one of the methods that are called on it."""

    module: str
    line: int
    pattern: re.Pattern[Any]
    method: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line}:{self.method}"


def is_re(node: ast.expr, *names: str) -> bool:
    """Whether a call is of one of these functions of the module re."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "re"
        and node.func.attr in names
    )


def compiled(call: ast.Call, module: str, kinds: slice) -> re.Pattern[Any]:
    """The expression that a call of re makes, worked out in its module."""
    flags = [word.value for word in call.keywords if word.arg == "flags"] or call.args[kinds]
    namespace = vars(importlib.import_module(module))
    pattern, *rest = (eval(ast.unparse(node), namespace) for node in (call.args[0], *flags))
    return re.compile(pattern, *rest)


def uses_of(module: str, source: str) -> Iterator[Use]:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and is_re(node, *METHODS):
            assert isinstance(node.func, ast.Attribute)
            place = 4 if node.func.attr in ("sub", "subn") else 3 if node.func.attr == "split" else 2
            yield Use(module, node.lineno, compiled(node, module, slice(place, None)), node.func.attr)
        elif isinstance(node, ast.Attribute) and is_re(node.value, "compile"):
            assert isinstance(node.value, ast.Call)
            yield Use(module, node.lineno, compiled(node.value, module, slice(1, None)), node.attr)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None and is_re(node.value, "compile"):
            assert isinstance(node.value, ast.Call)
            pattern = compiled(node.value, module, slice(1, None))
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {ast.unparse(target) for target in targets}
            called = {
                other.attr
                for other in ast.walk(tree)
                if isinstance(other, ast.Attribute) and other.attr in METHODS and ast.unparse(other.value) in names
            }
            yield from (Use(module, node.lineno, pattern, method) for method in sorted(called) or sorted(METHODS))


USES = [use for module, source in sources().items() if re.search(r"\bre\.", source) for use in uses_of(module, source)]


def parts_of(tree: Any) -> Iterator[str]:
    """The texts and signs that stand in an expression, and a sign of each of its classes."""
    run = ""
    for operation, argument in tree:
        if operation is opcodes.LITERAL:
            run += chr(argument)
            continue
        if run:
            yield run
        run = ""
        if operation is opcodes.IN:
            yield from (chr(low) for kind, low in argument if kind is opcodes.LITERAL)
            yield from (chr(low[0]) for kind, low in argument if kind is opcodes.RANGE)
        elif operation is opcodes.BRANCH:
            for branch in argument[1]:
                yield from parts_of(branch)
        elif isinstance(argument, (list, tuple)):
            for inner in argument:
                if isinstance(inner, parser.SubPattern):
                    yield from parts_of(inner)
        elif isinstance(argument, parser.SubPattern):
            yield from parts_of(argument)
    if run:
        yield run


def adversaries(pattern: re.Pattern[Any]) -> Iterator[str]:
    """Texts of 64 KiB: each part of the expression, and each two of its signs, again and again, behind nothing or a
    sign that may begin it, and before one that it hardly takes.
    """
    parts = list(dict.fromkeys(parts_of(parser.parse(pattern.pattern, pattern.flags))))
    signs = list(dict.fromkeys([*(part for part in parts if len(part) == 1), "a", "0", " ", "=", "%"]))[:16]
    units = list(
        dict.fromkeys([*parts[:24], *signs, *map("".join, itertools.permutations(signs[:3], 2)), "%6f", "\r\n "])
    )
    for head in ["", *dict.fromkeys(part[:1] for part in parts)][:4]:
        for unit in units:
            yield head + unit * (SIZE // len(unit)) + "\x00"


def run(use: Use, text: str) -> None:
    subject = text.encode("latin-1", "replace") if isinstance(use.pattern.pattern, bytes) else text
    if use.method in ("sub", "subn"):
        use.pattern.sub(subject[:0], subject)
    elif use.method == "finditer":
        for _ in use.pattern.finditer(subject):
            pass
    else:
        getattr(use.pattern, use.method)(subject)


def slowness(use: Use) -> str:
    """The processor time that the first text takes for which it is too much; empty if none is.

    Short beginnings of the texts come first, for which an expression that is worse than quadratic comes to an end.
    """
    for text in adversaries(use.pattern):
        for size in (256, 1024, SIZE // 4, SIZE):
            limit = max(LEAST_SECONDS, MOST_SECONDS * size / SIZE)
            took = seconds_of(use, text[:size] + text[-1])
            if took > limit and seconds_of(use, text[:size] + text[-1]) > limit:
                return f"{took:.2f} s for {size} bytes of {text[:20]!r}…"
    return ""


def seconds_of(use: Use, text: str) -> float:
    """Processor time, without that for garbage of other tests."""
    gc.disable()
    try:
        began = time.process_time()
        run(use, text)
        return time.process_time() - began
    finally:
        gc.enable()


@pytest.mark.parametrize("use", USES, ids=str)
def test_an_expression_takes_time_linear_in_its_text(use: Use) -> None:
    assert slowness(use) == ""


def test_all_expressions_are_found() -> None:
    calls = [
        (module, node.lineno)
        for module, source in sources().items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and is_re(node, "compile", *METHODS)
    ]
    assert set(calls) == {(use.module, use.line) for use in USES}
    assert len(calls) > 40


def test_no_other_module_makes_expressions_in_its_own_way() -> None:
    for module, source in sources().items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module in ("re", "regex"):
                pytest.fail(f"{module} imports from {node.module}, where expressions would not be found")
            if isinstance(node, ast.Import) and any(alias.name == "regex" for alias in node.names):
                assert module in BOUNDED


@pytest.mark.parametrize(
    ("source", "method"),
    [
        ("import re\nX = re.compile(r'://([^:/@]*:)?.*@')\ndef f(): return X.search('')", "search"),
        ("import re\nX = re.compile('[a-z]*[a-z]*[a-z]*,').fullmatch", "fullmatch"),
        ("import re\nre.search(r'\\s*x', '')", "search"),
        ("import re\nX = re.compile(r'[?&][^=&?]*pwd[^=&]*=')\nX.sub('', '')", "sub"),
    ],
)
@pytest.mark.sampled(4)
def test_a_slow_one_would_be_noticed(source: str, method: str) -> None:
    (use,) = uses_of("lbflask", source)
    assert use.method == method
    assert slowness(use)
