"""The field lines of a plain head as they stand in it: most heads pass through without a string for each field."""

from __future__ import annotations

from lbflask.core.http.types import Fields

#: Lines of the form `name: value`, each with its end; whether a Date is among them; and the length that they state for
#: the body of a response to GET, 0 for none.
FieldLines = tuple[bytes, bool, int]


def field_pairs(fields: Fields | FieldLines) -> Fields:
    """Names and values, in order."""
    if isinstance(fields, list):
        return fields
    lines = fields[0].decode("latin-1").split("\r\n")[:-1]
    return [(name, value) for name, _, value in [line.partition(": ") for line in lines]]
