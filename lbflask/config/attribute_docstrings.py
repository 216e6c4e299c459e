"""The docstrings below the fields of a model, which Python does not keep.

pydantic reads them too (`use_attribute_docstrings`), but for each model when it is imported, which takes a fifth of the
start of a process. Only documentation needs them.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import zip_longest

from pydantic import BaseModel


def attribute_docstrings(kind: type[BaseModel]) -> dict[str, str]:
    """The docstrings of the fields, by name. A field that is declared anew without one keeps the one that it had."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            declared = _of_module(base.__module__).get(base.__name__, {})
            found |= {name: text for name, text in declared.items() if text}
    return {name: found[name] for name in kind.model_fields if name in found}


@cache
def _of_module(name: str) -> Mapping[str, Mapping[str, str]]:
    """The docstrings of the attributes of each class, empty where there is none. None are known without sources."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[name]))
    except OSError:
        return {}
    return {node.name: dict(_of_class(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _of_class(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for declared, below in zip_longest(node.body, node.body[1:]):
        if isinstance(declared, ast.AnnAssign) and isinstance(declared.target, ast.Name):
            match below:
                case ast.Expr(ast.Constant(str(text))):
                    yield declared.target.id, " ".join(text.split())
                case _:
                    yield declared.target.id, ""
