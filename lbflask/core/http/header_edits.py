"""Header fields that are set, added and removed, in some messages or in all.

All other fields keep their order, their case and their repeats.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lbflask.core.http.field_names import NameTable
from lbflask.core.http.fields import HOP_BY_HOP
from lbflask.core.http.types import Field, Fields
from lbflask.core.http.value_templates import RequestFacts, ValueTemplate

#: Fields that define framing and destination; only the code that frames the message may write them.
UNTOUCHABLE = HOP_BY_HOP | {"content-length", "host", "expect", "http2-settings"}
#: What browsers take for the beginning of a host, also with a tab in it, which they leave out (URL Standard §4.4).
_OF_HOST: Final = re.compile(r"/\t*[/\\]")
#: A field whose value may have variables.
EditedField = tuple[str, str | ValueTemplate]


@dataclass(frozen=True, slots=True)
class EditCondition:
    """The messages that edits apply to: those with one of the `statuses` (any, if there are none), with all of the
    fields `present`, and with none of those `absent`. Names are in small letters.
    """

    statuses: frozenset[int] = frozenset()
    present: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()

    def holds(self, status: int, fields: Fields) -> bool:
        """Whether the edits apply to a message with this status and these fields."""
        if self.statuses and status not in self.statuses:
            return False
        if not self.present and not self.absent:
            return True
        names = {name.lower() for name, _ in fields}
        return self.present <= names and not self.absent & names


class Edits:
    """Removes, then sets, then adds, then sets what is absent by `default`. A field that is set stands where the first
    of its name stood, else at the end.

    A value with variables that is empty for a request makes no field. `locations` maps prefixes of a received Location
    to what replaces them; the longest one counts. All of it is done where the `condition` holds.
    """

    __slots__ = (
        "_added", "_before", "_condition", "_default", "_locations", "_operations", "_rules", "_set", "_templates",
        "needs_facts",
    )  # fmt: skip

    def __init__(
        self,
        *,
        set_: Sequence[EditedField] = (),
        add: Sequence[EditedField] = (),
        remove: Sequence[str] = (),
        locations: Mapping[str, str] | None = None,
        default: Sequence[EditedField] = (),
        condition: EditCondition | None = None,
    ) -> None:
        self._operations = (tuple(set_), tuple(add), tuple(remove), tuple(sorted((locations or {}).items())))
        self._default = tuple(default)
        self._condition = condition
        self._before: Edits | None = None  # what is done first
        self._set = {name.lower(): (name, value) for name, value in set_ if isinstance(value, str)}
        self._added = [(name, value) for name, value in add if isinstance(value, str)]
        #: The name in small letters of a field that is set, '' of one that is added, with name and value.
        self._templates = [(name.lower(), name, value) for name, value in set_ if isinstance(value, ValueTemplate)]
        self._templates += [("", name, value) for name, value in add if isinstance(value, ValueTemplate)]
        self._locations = sorted((locations or {}).items(), key=lambda pair: -len(pair[0]))
        self._rules = NameTable(
            {name.lower(): "" for name in remove} | {name.lower(): name.lower() for name, _ in set_}
        )
        #: Whether a value has variables.
        self.needs_facts = bool(self._templates) or any(isinstance(value, ValueTemplate) for _, value in default)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Edits) and self._all() == other._all()

    def __hash__(self) -> int:
        return hash(self._all())

    def _all(self) -> tuple[object, ...]:
        return (self._operations, self._default, self._condition, self._before)

    def then(self, later: Edits | None) -> Edits:
        """One value that does what these edits do and then the later ones."""
        if later is None:
            return self
        if later._before is not None:
            return self.then(later._before).then(later._alone())
        if self._condition is not None or self._default or later._condition is not None:
            return later._after(self)
        set_, added, removed, locations = self._operations
        later_set, later_added, later_removed, later_locations = later._operations
        gone = {name.lower() for name in later_removed} | {name.lower() for name, _ in later_set}
        both = Edits(
            set_=[*(field for field in set_ if field[0].lower() not in gone), *later_set],
            add=[*(field for field in added if field[0].lower() not in gone), *later_added],
            remove=[*removed, *later_removed],
            locations={**dict(locations), **dict(later_locations)},
            default=later._default,
        )
        return both if self._before is None else both._after(self._before)

    def _alone(self) -> Edits:
        """The last of several edits."""
        set_, added, removed, locations = self._operations
        return Edits(
            set_=set_,
            add=added,
            remove=removed,
            locations=dict(locations),
            default=self._default,
            condition=self._condition,
        )

    def _after(self, before: Edits) -> Edits:
        made = self._alone()
        made._before = before
        made.needs_facts = made.needs_facts or before.needs_facts
        return made

    def of(self, fields: Fields, facts: RequestFacts | None = None, status: int = 0) -> Fields:
        """The edited fields, in a list of their own. `facts` are those of the request, if `needs_facts`, and `status`
        is that of a response.
        """
        if self._before is not None:
            fields = self._before.of(fields, facts, status)
        if self._condition is not None and not self._condition.holds(status, fields):
            return [*fields]
        rules, missing, added = self._rules, dict(self._set), self._added
        if facts is not None and self._templates:
            added = added.copy()
            for key, name, template in self._templates:
                if (value := template.filled(facts)) and key:
                    missing[key] = (name, value)
                elif value:
                    added.append((name, value))
        kept: Fields = []
        for field in fields:
            rule = rules[field[0]]
            if rule is None:
                kept.append(field)
            elif rule in missing:
                kept.append(missing.pop(rule))
        if self._locations:
            kept = [self._relocated(field) for field in kept]
        found = [*kept, *missing.values(), *added]
        return self._with_default(found, facts) if self._default else found

    def _with_default(self, fields: Fields, facts: RequestFacts | None) -> Fields:
        names = {name.lower() for name, _ in fields}
        for name, value in self._default:
            if name.lower() not in names:
                text = value if isinstance(value, str) else value.filled(facts) if facts is not None else ""
                if text:
                    fields.append((name, text))
        return fields

    def _relocated(self, field: Field) -> Field:
        if field[0].lower() != "location" or "location" in self._set:
            return field
        for prefix, replacement in self._locations:
            if field[1].startswith(prefix):
                moved = replacement + field[1][len(prefix) :]
                # Two slashes at its begin would lead to another host; with a dot it is the same path (RFC 3986 §5.2.4).
                is_path = _OF_HOST.match(moved) is not None and _OF_HOST.match(replacement) is None
                return field[0], f"/.{moved}" if is_path else moved
        return field


def edits_of(*edits: Edits | None) -> Edits | None:
    """These edits, one after the other, as one value; None for none."""
    found: Edits | None = None
    for one in edits:
        found = one if found is None else found.then(one)
    return found
