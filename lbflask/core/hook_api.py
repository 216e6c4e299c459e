"""The arguments and results of hooks: the public interface that docs/hooks.md describes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lbflask.core.http.field_names import is_token
from lbflask.core.http.header_edits import UNTOUCHABLE
from lbflask.core.http.reason_phrases import REASONS
from lbflask.core.http.types import Fields

#: The value of a field: text without controls (RFC 9110 §5.5).
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
#: Fields that only the balancer writes: framing, hop-by-hop fields, Host (RFC 9110 §7.6.1, RFC 9112 §6). Hooks may set
#: the credentials for another proxy (RFC 9110 §11.7).
RESERVED = UNTOUCHABLE - {"proxy-authenticate", "proxy-authorization"}


@dataclass(frozen=True, slots=True)
class HookRequest:
    """A request. `target` is path and query, `fields` are the header fields for the backend."""

    request_id: str
    client: str
    method: str
    target: str
    host: str
    pool: str
    fields: tuple[tuple[str, str], ...]

    def field(self, name: str) -> str | None:
        """The value of the first field of that name, which is not case-sensitive."""
        wanted = name.lower()
        return next((value for key, value in self.fields if key.lower() == wanted), None)


@dataclass(frozen=True, slots=True)
class HookResponse:
    """A response before its head is sent: the status, and the header fields for the client, without those that the
    balancer adds.
    """

    status: int
    fields: tuple[tuple[str, str], ...]

    def field(self, name: str) -> str | None:
        """The value of the first field of that name, which is not case-sensitive."""
        wanted = name.lower()
        return next((value for key, value in self.fields if key.lower() == wanted), None)


@dataclass(frozen=True, slots=True)
class Change:
    """Header fields to set, in place of all of the same name, and to remove.

    Raises ValueError for reserved names, and for invalid names and values.
    """

    set: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the names and values."""
        _check_fields((*self.set, *self.remove), self.set.values())

    def applied_to(self, fields: Fields) -> Fields:
        """The changed fields; those that are set are at the end."""
        gone = {name.lower() for name in (*self.set, *self.remove)}
        return [pair for pair in fields if pair[0].lower() not in gone] + list(self.set.items())


@dataclass(frozen=True, slots=True)
class Refusal:
    """A response instead of the backend's: a registered status from 400 to 599, a line of text, and header fields
    besides those of all such responses, as `{"WWW-Authenticate": "Bearer"}`.

    Raises ValueError for another status, for reserved names, and for invalid names and values.
    """

    status: int
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the status and the fields."""
        _check_fields(self.headers, self.headers.values())
        if any(name.lower() == "content-type" for name in self.headers):
            raise ValueError("Content-Type is that of the line of text")
        if not 400 <= self.status <= 599 or self.status not in REASONS:
            raise ValueError(f"{self.status} is not a status for a refusal")


@dataclass(frozen=True, slots=True)
class HealthChange:
    """Active checks changed the state of a backend. `health` and `before` are `checking`, `up` or `down`."""

    pool: str
    backend: str
    health: str
    before: str
    reason: str


def _check_fields(names: Iterable[str], values: Iterable[str]) -> None:
    """Raises ValueError for a name or a value that hooks may not write."""
    for name in names:
        if not is_token(name):
            raise ValueError(f"{name!r} is not the name of a field")
        if name.lower() in RESERVED:
            raise ValueError(f"{name} may not be changed by hooks")
    for value in values:
        if not _VALUE.fullmatch(value):
            raise ValueError(f"{value!r} is not the value of a field")
