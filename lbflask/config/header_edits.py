"""Configuration of header fields that are set, added and removed: for all, per pool and per route."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from lbflask.config.field_types import PRINTABLE, FieldName, Listed, Section, Statuses, checked_by, required
from lbflask.config.redaction import URL, FieldTable, Secret
from lbflask.core.http.header_edits import UNTOUCHABLE, EditCondition, EditedField, Edits, edits_of
from lbflask.core.http.status_classes import statuses_of
from lbflask.core.http.value_templates import field_value

#: What is not known yet while a request is sent.
_OF_RESPONSES = frozenset({"backend"})


def _check_edited(value: str) -> None:
    if value.lower() in UNTOUCHABLE:
        reason = (
            "see `host` and preserve_host"
            if value.lower() == "host"
            else "it belongs to one connection or frames the message"
        )
        raise ValueError(f"may not be changed: {reason}")


def _check_request_value(value: Secret) -> None:
    field_value(value.reveal(), os.environ, without=_OF_RESPONSES)


def _check_response_value(value: Secret) -> None:
    field_value(value.reveal(), os.environ)


EditedName = Annotated[FieldName, checked_by(_check_edited)]
RequestValue = Annotated[Secret, PRINTABLE, checked_by(_check_request_value)]
ResponseValue = Annotated[Secret, PRINTABLE, checked_by(_check_response_value)]
Prefix = Annotated[
    URL, required(re.compile(r"(?:https?://|/)[!-~]*").fullmatch, "must begin with http://, https:// or /")
]


class HeaderEditsConfig(Section):
    """Changes to the fields that backends get: of all levels, one after the other (docs/variables.md). Hop-by-hop
    fields, fields of framing, and Host cannot be changed.
    """

    set: Annotated[dict[EditedName, RequestValue], FieldTable()] = Field(default_factory=dict)
    """Fields that are set to this value, instead of any other; `{client}` and other variables are filled in."""
    default: Annotated[dict[EditedName, RequestValue], FieldTable()] = Field(default_factory=dict)
    """Fields that are set to this value where the message has none of this name."""
    add: Annotated[dict[EditedName, RequestValue], FieldTable()] = Field(default_factory=dict)
    """Fields that are added to those of the message."""
    remove: Listed[EditedName] | None = None
    """Fields that are removed."""

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting, for a field with two changes."""
        seen: dict[str, str] = {}
        for key, names in (
            *(("remove", self.remove or ()), ("set", self.set)),
            *(("add", self.add), ("default", self.default)),
        ):
            for name in names:
                if name.lower() in seen:
                    raise ValueError(f"{where}.{key}: {name!r} is in {seen[name.lower()]} already")
                seen[name.lower()] = key

    def edits(self, name: str) -> bool:
        """Whether the field of this name, in small letters, is changed."""
        return any(one.lower() == name for one in (*self.set, *self.default, *self.add, *(self.remove or ())))

    def to_model(self) -> Edits | None:
        """The changes as a value of the core; None for no changes."""
        return self._edits() if self._changes else None

    @property
    def _changes(self) -> bool:
        return bool(self.set or self.default or self.add or self.remove)

    def _edits(self, locations: Mapping[str, str] | None = None, condition: EditCondition | None = None) -> Edits:
        return Edits(
            set_=_fields(self.set),
            add=_fields(self.add),
            remove=self.remove or (),
            locations=locations,
            default=_fields(self.default),
            condition=condition,
        )


class ConditionalEditsConfig(HeaderEditsConfig):
    """Changes to the fields of some responses: those for which all conditions hold."""

    on: Statuses = ()
    """Statuses, such as 404, and classes of them, such as `5xx`; any unless set."""
    present: Listed[FieldName] = ()
    """Fields that the response has."""
    absent: Listed[FieldName] = ()
    """Fields that the response does not have."""
    set: Annotated[dict[EditedName, ResponseValue], FieldTable()] = Field(default_factory=dict)
    default: Annotated[dict[EditedName, ResponseValue], FieldTable()] = Field(default_factory=dict)
    add: Annotated[dict[EditedName, ResponseValue], FieldTable()] = Field(default_factory=dict)

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting, also for no condition or no change."""
        super().check(where)
        if not (self.on or self.present or self.absent):
            raise ValueError(
                f"{where}: needs a condition: on, present or absent; without any, write it outside of when"
            )
        if not (self.set or self.default or self.add or self.remove):
            raise ValueError(f"{where}: changes nothing: set, default, add or remove is missing")
        both = {name.lower() for name in self.present} & {name.lower() for name in self.absent}
        if both:
            raise ValueError(f"{where}.absent: {min(both)!r} is in present too, so that no response meets both")

    def to_model(self) -> Edits:
        """The changes as a value of the core."""
        present, absent = (frozenset(map(str.lower, names)) for names in (self.present, self.absent))
        return self._edits(condition=EditCondition(statuses_of(self.on), present, absent))


class ResponseEditsConfig(HeaderEditsConfig):
    """Changes to the fields of final responses: the same, of Location, and of some responses."""

    set: Annotated[dict[EditedName, ResponseValue], FieldTable()] = Field(default_factory=dict)
    default: Annotated[dict[EditedName, ResponseValue], FieldTable()] = Field(default_factory=dict)
    add: Annotated[dict[EditedName, ResponseValue], FieldTable()] = Field(default_factory=dict)
    rewrite_location: dict[Prefix, Prefix] = Field(default_factory=dict)
    """Prefixes of the `Location` of backends, each with what replaces it: `{ "http://app:8000/" = "/" }`."""
    when: tuple[ConditionalEditsConfig, ...] | None = None
    """Changes to some responses, after those to all: tables of `on`, `present`, `absent`, and of changes."""

    def check(self, where: str) -> None:
        """As of HeaderEditsConfig."""
        super().check(where)
        for number, table in enumerate(self.when or ()):
            table.check(f"{where}.when[{number}]")

    def edits(self, name: str) -> bool:
        """As of HeaderEditsConfig."""
        return super().edits(name) or any(table.edits(name) for table in self.when or ())

    def to_model(self) -> Edits | None:
        """The changes as a value of the core; None for no changes."""
        locations = {prefix.reveal(): replacement.reveal() for prefix, replacement in self.rewrite_location.items()}
        always = self._edits(locations) if self._changes or locations else None
        return edits_of(always, *(table.to_model() for table in self.when or ()))


def _fields(table: Mapping[str, Secret]) -> tuple[EditedField, ...]:
    return tuple((name, field_value(value.reveal(), os.environ)) for name, value in table.items())
