"""The mutants of a module: copies of its syntax tree with one small fault each.

A fault is a swapped operator, a negated condition, another constant, a missing result, a statement that is left out, or
a call of `strip`, `lower` and the like that is left out. Declarations stay: annotations, decorators, docstrings,
`__slots__`, names of type variables, `zip(strict=…)`, and code for the type checker.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from types import CodeType
from typing import NamedTuple

_SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.Break: ast.Continue,
    ast.Continue: ast.Break,
}
#: Comparisons whose swapped operator is the negated condition already.
_NEGATED_BY_SWAP = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)
_FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}
_METHODS = frozenset(
    {"capitalize", "casefold", "lower", "lstrip", "removeprefix", "removesuffix", "rstrip", "strip", "upper"}
)
#: Fields of nodes that are conditions, and those that are declarations.
_CONDITIONS = frozenset({"test", "ifs", "guard"})
_DECLARATIONS = frozenset({"annotation", "returns", "decorator_list"})
_TYPE_NAMES = frozenset({"TypeVar", "NewType"})
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
#: Characters of an expression that show where it is; of a shorter one the expression around it is shown.
_TELLING = 24


class Mutant(NamedTuple):
    """A mutant: `change` is the source text of the changed expression before and after, `lines` where it is.

    `function` and `change` together are unique in a module, and stay the same when the rest of the module changes.
    """

    function: str
    change: str
    lines: tuple[int, int]
    code: CodeType


class _Site(NamedTuple):
    """A node, the place that holds it, the nodes around it from the outermost one, and the function that it is in."""

    holder: ast.AST
    field: str
    index: int | None
    node: ast.AST
    around: tuple[ast.AST, ...]
    function: str

    def put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.holder, self.field, node)
        else:
            getattr(self.holder, self.field)[self.index] = node


def mutants(source: str, path: str) -> Iterator[Mutant]:
    """The mutants of a module, in the order of its syntax tree. Raises SyntaxError if the module is not valid."""
    tree = ast.parse(source)
    seen: Counter[tuple[str, str]] = Counter()
    for site in list(_sites(tree, (tree,), "")):
        for node in _replacements(site):
            shown = _shown(site)
            before = ast.unparse(shown)
            site.put(ast.fix_missing_locations(ast.copy_location(node, site.node)))
            change = f"{before} -> {ast.unparse(node if shown is site.node else shown)}"
            code = compile(tree, path, "exec", dont_inherit=True)
            site.put(site.node)
            seen[site.function, change] += 1
            count = seen[site.function, change]
            yield Mutant(site.function, f"{change} ({count})" if count > 1 else change, _lines(shown), code)


def _sites(node: ast.AST, around: tuple[ast.AST, ...], function: str) -> Iterator[_Site]:
    """All nodes below a node, but for declarations."""
    for field, value in ast.iter_fields(node):
        if field in _DECLARATIONS:
            continue
        for index, child in enumerate(value) if isinstance(value, list) else ((None, value),):
            if isinstance(child, ast.AST) and not _is_declaration(child):
                name = f"{function}.{child.name}".lstrip(".") if isinstance(child, _SCOPES) else function
                yield _Site(node, field, index, child, around, name)
                yield from _sites(child, (*around, child), name)


def _is_declaration(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Assign(targets=[ast.Name(id="__slots__" | "__all__")]):
            return True
        case ast.Assign(value=ast.Call(func=ast.Name(id=name))):
            return name in _TYPE_NAMES
        case ast.keyword(arg="strict"):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
    return False


def _replacements(site: _Site) -> Iterator[ast.AST]:
    """The nodes that a node is replaced by, one in each mutant."""
    swapped = _SWAPPED.get(type(site.node))
    if swapped:
        yield swapped()
    if site.field in _CONDITIONS and isinstance(site.node, ast.expr) and not _negated_otherwise(site.node):
        yield ast.UnaryOp(ast.Not(), site.node)
    yield from chain(_of_expression(site.node), _of_statement(site.node))


def _negated_otherwise(condition: ast.expr) -> bool:
    match condition:
        case ast.Compare(ops=[operator]):
            return isinstance(operator, _NEGATED_BY_SWAP)
        case ast.UnaryOp(op=ast.Not()) | ast.Constant():
            return True
    return False


def _of_expression(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Constant(value=str() as value):
            yield ast.Constant("" if value else "mutated")
        case ast.Constant(value=bytes() as value):
            yield ast.Constant(b"" if value else b"mutated")
        case ast.Call(func=ast.Name(id=name)) if name in _FUNCTIONS:
            keywords = [] if name == "sorted" else node.keywords
            yield ast.Call(ast.Name(_FUNCTIONS[name], ast.Load()), node.args, keywords)
        case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in _METHODS:
            yield value
        case ast.Yield(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield ast.Yield(ast.Constant(None))


def _of_statement(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.AugAssign() | ast.Delete():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
            yield ast.Pass()


def _shown(site: _Site) -> ast.AST:
    """The smallest expression or statement around a node that tells where it is, without the body of a statement."""
    shown = site.node
    for node in (site.node, *reversed(site.around)):
        if isinstance(node, ast.Match) or (hasattr(node, "body") and not isinstance(node, (ast.IfExp, ast.Lambda))):
            break
        if isinstance(node, (ast.expr, ast.stmt, ast.arguments)):
            shown = node
            if len(ast.unparse(node)) >= _TELLING:
                break
    return shown


def _lines(node: ast.AST) -> tuple[int, int]:
    lines = [line for inner in ast.walk(node) if (line := getattr(inner, "lineno", 0))]
    return (min(lines), max(lines)) if lines else (0, 0)
