"""Fields that checks of a request add for backends, such as X-Forwarded-User. Only these checks may write them."""

from __future__ import annotations

import re
from collections.abc import Collection

from lbflask.core.http.field_names import NameCache, members
from lbflask.core.http.types import Field, Fields

_NO_LETTER = re.compile(r"[^a-z0-9]")


def folded(name: str) -> str:
    """The name as CGI variables have it, where `_` and other signs are the same as `-`."""
    return _NO_LETTER.sub("-", name.lower())


class GrantedFields:
    """The fields of these names are those that a check grants."""

    def __init__(self, names: Collection[str], dropped: Collection[str] = ()) -> None:
        self.names = tuple(names)
        #: In small letters: backends get these from the check, whatever a peer states.
        self.kept = frozenset(name.lower() for name in names)
        self._folded = frozenset(map(folded, names)) | frozenset(name.lower() for name in dropped)

    def __repr__(self) -> str:
        return f"GrantedFields({', '.join(self.names)})"

    def of(self, received: Fields, granted: Fields) -> Fields:
        """The received fields without those of these names, in any spelling, and with the granted ones. A Connection
        field cannot remove the latter (RFC 9110 §7.6.1): their names are taken out of it.
        """
        kept: Fields = []
        for field in received:
            name = field[0].lower()
            if name == "connection":
                kept += self._without_names(field)
            elif folded(name) not in self._folded:
                kept.append(field)
        return [*kept, *granted]

    def _without_names(self, field: Field) -> Fields:
        options = list(members([field[1]]))
        left = [option for option in options if folded(option) not in self._folded]
        if len(left) == len(options):
            return [field]
        return [(field[0], ", ".join(left))] if left else []


class StatedFields:
    """Fields of these names, in any spelling, that clients may have stated."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = tuple(names)
        wanted = frozenset(map(folded, names))
        self._judged: NameCache[bool] = NameCache(lambda name: folded(name) in wanted)

    def __repr__(self) -> str:
        return f"StatedFields({', '.join(self.names)})"

    def dropped_from(self, fields: Fields) -> Fields:
        """The other fields, of a head or of trailers; the same list if there are no others."""
        judged = self._judged
        kept = [field for field in fields if not judged[field[0]]]
        return kept if len(kept) != len(fields) else fields
