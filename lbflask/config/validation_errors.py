"""What is wrong with a configuration, as one line: file and line or variable, key, value, and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from lbflask.config.paths import type_of
from lbflask.config.redaction import masked, without_secrets
from lbflask.config.route_match import MOST_NAMED
from lbflask.config.toml_location import key_of

#: What pydantic says of types, in the terms of a file.
_EXPECTED = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a table",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "model_type": "must be a table",
    "string_type": "must be a text in quotes",
}
#: Tables that are named as the place of a key.
_MOST_WITHIN = 3
#: Names of keys that are listed where none of them is near.
_MOST_LISTED = 24


def first_error(
    error: ValidationError,
    kind: type[BaseModel],
    place: Callable[[Sequence[Any]], str],
    sources: Mapping[tuple[str, ...], str],
) -> str:
    """The first error in settings of this type, as one line. `place` gives the file and the line of a key."""
    errors = error.errors(include_url=False, include_context=False)
    first = errors[0]
    if first["type"] == "missing":  # an unknown key of the same table may explain it
        beside = (one for one in errors if one["type"] == "extra_forbidden" and one["loc"][:-1] == first["loc"][:-1])
        first = next(beside, first)
    unknown = first["type"] == "extra_forbidden"
    # A step with a bracket is a type of pydantic, unless it is an unknown key.
    steps = [step for step in first["loc"] if unknown or not (isinstance(step, str) and "[" in step)]
    key = key_of(steps)
    message = first["msg"].removeprefix("Value error, ")
    message = masked(message[:1].lower() + message[1:])
    if not key:  # it concerns several settings: the message begins with one of them
        steps = steps_of(message.partition(":")[0])
    named = tuple(str(step) for step in steps)
    source = next((sources[named[:n]] for n in range(len(named), 0, -1) if named[:n] in sources), "")
    source = source or place(steps)
    if not key:
        return f"{source}: {message}"
    if first["type"] == "missing":
        return f"{source}: {key}: is missing"
    shown = _shown(first["input"], kind, steps)
    if unknown:
        return f"{source}: there is no setting {key!r} (its value is {shown}){instead(kind, steps)}"
    message = _EXPECTED.get(first["type"], message)
    if first["type"] in ("tuple_type", "list_type"):
        is_table = isinstance(first["input"], Mapping)
        message = f"must be a list of tables: write [[{key}]]" if is_table else "must be a list"
    if first["type"] == "value_error" and shown in message:
        return f"{source}: {key}: {message}"
    return f"{source}: {key} = {shown}: {message}"


def with_route(message: str, values: Mapping[str, Any]) -> str:
    """The message, with the route in which the error is, by its name or by what it matches."""
    found = re.search(r"[ '](?:routes\[(\d+)\])", message)
    routes = values.get("routes")
    if found is None or not isinstance(routes, list) or int(found[1]) >= len(routes):
        return message
    route = routes[int(found[1])]
    named = [route.get("name")] if isinstance(route, Mapping) else []
    match = route.get("match") if isinstance(route, Mapping) else None
    if isinstance(match, Mapping):
        named += [match.get(key) for key in ("exact", "path", "host")]
    texts = (one if isinstance(one, str) else ",".join(map(str, one)) for one in named if isinstance(one, (str, list)))
    name = next(filter(None, texts), "")[:MOST_NAMED]
    return message if not name or repr(name) in message else f"{message} (in the route {name!r})"


def instead(kind: type[BaseModel], steps: Sequence[Any]) -> str:
    """What could be meant by an unknown key: the nearest name in its table, or the names that the table has."""
    table = _table_at(kind, steps[:-1])
    names = sorted(field.alias or name for name, field in table.model_fields.items()) if table else []
    name = str(steps[-1])
    near = [one for one in names if name in (one + "s", one.rstrip("s"))]
    if name in names:  # of a variable for a part of it
        return ""
    if not near and table is not None and (within := _tables_with(name, table)):
        return f"; is it {' or '.join(f'{key}.{name}' for key in within)}?"
    if not near and len(steps) > 1 and all(isinstance(step, str) for step in steps) and _is_plain(kind, name):
        return f"; {name!r} of the top level stands before the first [table]"
    near = near or get_close_matches(name, names, 1)
    if near:
        return f"; is it {near[0]!r}?"
    return f"; there are {', '.join(names)}" if 0 < len(names) <= _MOST_LISTED else ""


def _is_plain(kind: type[BaseModel], name: str) -> bool:
    """Whether a table has a setting of the name that is no table: in a file it stands before all tables."""
    return name in kind.model_fields and not _tables_in(type_of(kind.model_fields[name]))


def _tables_with(name: str, table: type[BaseModel]) -> list[str]:
    """The keys of the tables within this one that have a setting of the name."""
    inner = {field.alias or key: _tables_in(type_of(field)) for key, field in table.model_fields.items()}
    found = [key for key, kinds in inner.items() if len(kinds) == 1 and name in kinds[0].model_fields]
    return found[:_MOST_WITHIN]


def _table_at(kind: Any, steps: Sequence[Any]) -> type[BaseModel] | None:
    """The type of the table to which these steps lead; None where there is no single one."""
    tables = [kind]
    for step in steps:
        found = [field for table in tables for name, field in table.model_fields.items() if step in (name, field.alias)]
        if found:
            tables = [one for field in found for one in _tables_in(type_of(field))]
    return tables[0] if len(tables) == 1 else None


def _tables_in(kind: Any) -> list[type[BaseModel]]:
    """The types of tables that a type holds, at any depth of lists, alternatives and tables of free names."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [table for part in get_args(kind) for table in _tables_in(part)]


def steps_of(key: str) -> list[Any]:
    """The steps of a key such as `listeners[0].bind`."""
    return [int(step) if re.fullmatch("[0-9]{1,9}", step) else step for step in re.findall(r"[^.[\]]+", key)]


def _shown(value: Any, kind: type[BaseModel], steps: Sequence[Any]) -> str:
    """The value of the setting at these steps, in part if it is long. Secrets are masked at any step."""
    for step in reversed(steps):
        value = [value] if isinstance(step, int) else {step: value}
    value = without_secrets(value, kind)
    for step in steps:
        value = value[0 if isinstance(step, int) else step] if isinstance(value, (list, dict)) else value
    text = masked(repr(value))  # before the cut, which may remove the marks of a password
    return text if len(text) <= 80 else text[:77] + "…"
