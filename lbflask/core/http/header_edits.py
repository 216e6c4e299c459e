"""Header fields that a route sets, adds and removes. All others keep their order, their case and their repeats."""

from __future__ import annotations

from collections.abc import Sequence

from lbflask.core.http.field_names import NameTable
from lbflask.core.http.fields import HOP_BY_HOP
from lbflask.core.http.types import Field, Fields

#: Fields that define framing and destination; only the code that frames the message may write them.
UNTOUCHABLE = HOP_BY_HOP | {"content-length", "host", "expect", "http2-settings"}


class Edits:
    """Removes, then sets, then adds. A field that is set stands where the first of its name stood, else at the end."""

    __slots__ = ("_added", "_operations", "_rules", "_set")

    def __init__(self, *, set_: Sequence[Field] = (), add: Sequence[Field] = (), remove: Sequence[str] = ()) -> None:
        self._operations = (tuple(set_), tuple(add), tuple(remove))
        self._set = {name.lower(): (name, value) for name, value in set_}
        self._added = list(add)
        self._rules = NameTable({name.lower(): "" for name in remove} | {name: name for name in self._set})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Edits) and self._operations == other._operations

    def __hash__(self) -> int:
        return hash(self._operations)

    def of(self, fields: Fields) -> Fields:
        """The edited fields, in a list of their own."""
        rules, missing = self._rules, dict(self._set)
        kept: Fields = []
        for field in fields:
            name = rules[field[0]]
            if name is None:
                kept.append(field)
            elif name in missing:
                kept.append(missing.pop(name))
        return [*kept, *missing.values(), *self._added]
