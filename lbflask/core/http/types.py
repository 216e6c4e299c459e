"""Header and trailer fields as values: one pair of latin-1 strings a field line, in order (RFC 9110 §5.3)."""

from __future__ import annotations

#: The name, in the spelling that was received, and the value.
Field = tuple[str, str]
#: A repeated field stays repeated.
Fields = list[Field]
