"""Choice of a content coding by Accept-Encoding (RFC 9110 §12.5.3): of files that were compressed in advance, and of
responses that are compressed on their way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

#: Codings of precompressed files, the preferred one first, each with the suffix of such files.
SUFFIXES: Final = {"zstd": ".zst", "br": ".br", "gzip": ".gz"}
#: What is read of an Accept-Encoding: more members mean nothing.
MOST_MEMBERS: Final = 32

_MEMBER: Final = re.compile(
    r"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?[ \t]*"
)


def accepted_codings(text: str | None, offered: Iterable[str] = SUFFIXES) -> tuple[str, ...]:
    """The offered codings that the client accepts, in the order in which they are to be tried: by its weights, then by
    the order of `offered`. Codings that it likes less than the content as it is are left out. None is a request without
    the field.

    A member that is malformed is ignored.
    """
    if not text:
        return ()
    weights: dict[str, float] = {}
    for member in text.split(",")[:MOST_MEMBERS]:
        found = _MEMBER.fullmatch(member)
        if found is not None:
            name = found[1].lower()
            weights.setdefault("gzip" if name == "x-gzip" else name, float(found[2] or 1))
    others, least = weights.get("*", 0.0), weights.get("identity", 0.0)
    ranked = [(weights.get(name, others), name) for name in offered]
    kept = [(weight, name) for weight, name in ranked if weight > 0 and weight >= least]
    return tuple(name for _, name in sorted(kept, key=_weight, reverse=True))


def _weight(ranked: tuple[float, str]) -> float:
    return ranked[0]
