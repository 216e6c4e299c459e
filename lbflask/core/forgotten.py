"""What operators had set in a pool, and an emptied store has lost."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lbflask.core.model import Mode, Override
from lbflask.core.overrides import deviates

#: Seconds for which a loss is shown.
SHOWN_FOR = 3600.0

_VERBS = {Mode.DRAINING: "drain", Mode.OFF: "off"}


@dataclass(frozen=True, slots=True)
class ForgottenOverrides:
    """The overrides of a pool, by backend, that its store held when it was emptied `at` a time by the store's clock."""

    at: float
    overrides: Mapping[str, Override]

    def missing(self, present: Mapping[str, Override], now: float) -> dict[str, Override]:
        """Those that were not set anew, unless the loss is long ago."""
        if now - self.at > SHOWN_FOR:
            return {}
        lost = {id_: override for id_, override in sorted(self.overrides.items()) if id_ not in present}
        return {id_: override for id_, override in lost.items() if deviates(override)}


def commands(pool: str, backend: str, override: Override) -> Iterator[str]:
    """The command lines that set it again."""
    name, of_pool = shlex.quote(backend), f"--pool {shlex.quote(pool)}"
    if override.added is not None:
        backup = " --backup" if override.added.backup else ""
        weight = f"--weight {override.added.weight}{backup}"
        yield f"lbflask add {shlex.quote(override.added.url)} --name {name} {weight} {of_pool}"
    if override.removed:
        yield f"lbflask remove {name} {of_pool}"
    if override.weight is not None:
        yield f"lbflask weight {name} {override.weight} {of_pool}"
    if override.mode in _VERBS:
        yield f"lbflask {_VERBS[override.mode]} {name} {of_pool}"
