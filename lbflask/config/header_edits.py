"""Configuration of header fields that are set, added and removed: for all, per pool and per route."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from lbflask.config.field_types import PRINTABLE, FieldName, Listed, Section, checked_by, required
from lbflask.config.redaction import URL, FieldTable, Secret
from lbflask.core.http.header_edits import UNTOUCHABLE, EditedField, Edits
from lbflask.core.http.value_templates import parsed_value

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
    parsed_value(value.reveal(), os.environ, without=_OF_RESPONSES)


def _check_response_value(value: Secret) -> None:
    parsed_value(value.reveal(), os.environ)


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
    add: Annotated[dict[EditedName, RequestValue], FieldTable()] = Field(default_factory=dict)
    """Fields that are added to those of the message."""
    remove: Listed[EditedName] | None = None
    """Fields that are removed."""

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting, for a field with two changes."""
        seen: dict[str, str] = {}
        for key, names in (("remove", self.remove or ()), ("set", self.set), ("add", self.add)):
            for name in names:
                if name.lower() in seen:
                    raise ValueError(f"{where}.{key}: {name!r} is in {seen[name.lower()]} already")
                seen[name.lower()] = key

    def edits(self, name: str) -> bool:
        """Whether the field of this name, in small letters, is changed."""
        return any(one.lower() == name for one in (*self.set, *self.add, *(self.remove or ())))

    def to_model(self) -> Edits | None:
        """The changes as a value of the core; None for no changes."""
        if not (self.set or self.add or self.remove):
            return None
        return Edits(set_=_fields(self.set), add=_fields(self.add), remove=self.remove or ())


class ResponseEditsConfig(HeaderEditsConfig):
    """Changes to the fields of all final responses: the same, and of Location."""

    set: Annotated[dict[EditedName, ResponseValue], FieldTable()] = Field(default_factory=dict)
    add: Annotated[dict[EditedName, ResponseValue], FieldTable()] = Field(default_factory=dict)
    rewrite_location: dict[Prefix, Prefix] = Field(default_factory=dict)
    """Prefixes of the `Location` of backends, each with what replaces it: `{ "http://app:8000/" = "/" }`."""

    def to_model(self) -> Edits | None:
        """The changes as a value of the core; None for no changes."""
        if not (self.set or self.add or self.remove or self.rewrite_location):
            return None
        locations = {prefix.reveal(): replacement.reveal() for prefix, replacement in self.rewrite_location.items()}
        return Edits(set_=_fields(self.set), add=_fields(self.add), remove=self.remove or (), locations=locations)


def _fields(table: Mapping[str, Secret]) -> tuple[EditedField, ...]:
    return tuple((name, parsed_value(value.reveal(), os.environ)) for name, value in table.items())
