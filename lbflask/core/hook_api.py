"""What hooks are given, and what they may answer: values of the public interface, described in docs/hooks.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lbflask.core.http.field_names import is_token
from lbflask.core.http.reason_phrases import REASONS
from lbflask.core.http.types import Fields

#: The value of a field: text without controls (RFC 9110 §5.5).
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
#: What is ours to say: the framing, the hop, and whom the request goes to (RFC 9110 §7.6.1, RFC 9112 §6).
RESERVED = frozenset(
    {"connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-connection", "te"}
    | {"trailer", "transfer-encoding", "upgrade"}
)


@dataclass(frozen=True, slots=True)
class HookRequest:
    """A request on its way. `target` is path and query, `fields` are the header fields that a backend is to get."""

    request_id: str
    client: str
    method: str
    target: str
    host: str
    pool: str
    fields: tuple[tuple[str, str], ...]

    def field(self, name: str) -> str | None:
        """The value of the first field of that name, in any case."""
        wanted = name.lower()
        return next((value for key, value in self.fields if key.lower() == wanted), None)


@dataclass(frozen=True, slots=True)
class Change:
    """Header fields to set (whatever was there of the name goes) and to remove. Raises ValueError for what may not be
    changed, or is no field.
    """

    set: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the names and values."""
        for name in (*self.set, *self.remove):
            if not is_token(name):
                raise ValueError(f"{name!r} is no name of a field")
            if name.lower() in RESERVED:
                raise ValueError(f"{name} is not for hooks to change")
        for value in self.set.values():
            if not _VALUE.fullmatch(value):
                raise ValueError(f"{value!r} is no value of a field")

    def applied_to(self, fields: Fields) -> Fields:
        """The fields, changed; those that are set stand at the end."""
        gone = {name.lower() for name in (*self.set, *self.remove)}
        return [pair for pair in fields if pair[0].lower() not in gone] + list(self.set.items())


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer in the backend's place: a status of 400 to 599 that RFC 9110 knows, and a line of text."""

    status: int
    reason: str

    def __post_init__(self) -> None:
        """Check the status."""
        if not 400 <= self.status <= 599 or self.status not in REASONS:
            raise ValueError(f"{self.status} is no status to refuse with")


@dataclass(frozen=True, slots=True)
class HealthChange:
    """What active checks say of a backend has changed. `health` and `before` are `checking`, `up` or `down`."""

    pool: str
    backend: str
    health: str
    before: str
    reason: str
