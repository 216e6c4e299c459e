"""Settings that have an effect only beside another one, which switches on what they are about.

A file that sets them and never the other one has a mistake: it would be accepted, and nothing would happen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lbflask.config.field_types import Section
from lbflask.config.traffic import TrafficConfig

_BOTH = ("requests", "responses")
#: By table and setting, the settings of which the file needs one, at any level.
_NEEDED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "compression": dict.fromkeys(("types", "min_length", "gzip_level", "br_level", "zstd_level"), ("encodings",)),
    "cors": dict.fromkeys(("methods", "headers", "credentials", "max_age", "expose"), ("origins",)),
    "buffering": {
        "spool_requests": ("requests",),
        "spool_responses": ("responses",),
        "rate_grace": ("least_request_rate", "least_response_rate"),
        **dict.fromkeys(("memory", "spool", "directory"), _BOTH),
    },
}
#: What to write for each of them.
_INSTEAD: Mapping[str, str] = {
    "encodings": '["gzip"]',
    "origins": '["https://shop.example"]',
    "requests": '"1MiB"',
    "responses": '"1MiB"',
    "least_request_rate": "500",
    "least_response_rate": "500",
}


def check_switches(levels: Iterable[tuple[str, TrafficConfig]]) -> None:
    """Raises ValueError, which names the setting, for one that has no effect anywhere. Each level has the begin of its
    keys, such as `routes[0].`.
    """
    every = list(levels)
    for table, needed in _NEEDED.items():
        tables = [(f"{where}{table}", getattr(level, table)) for where, level in every]
        given = {key for _, one in tables for key in one.model_fields_set}
        for key, others in needed.items():
            if key in given and given.isdisjoint(others):
                examples = " or ".join(f"{other} = {_INSTEAD[other]}" for other in others)
                reason = f"has no effect, since no table of this kind sets {examples}"
                for where, one in tables:
                    _check(where, one, key, reason)


def _check(where: str, table: Section, key: str, reason: str) -> None:
    if key in table.model_fields_set:
        table.check_unused(where, (key,), reason)
