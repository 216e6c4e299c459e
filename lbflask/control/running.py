"""What this process runs, as the control plane sees it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from lbflask.config.schema import Config
from lbflask.core.model import Pool


@dataclass(frozen=True, slots=True)
class Running:
    """A configuration in effect, with its pools by name.

    `known_since` has, for each pool, since when this process has had each backend in its configuration, by the steady
    clock.
    """

    config: Config
    pools: Mapping[str, Pool]
    known_since: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config, before: Running | None = None) -> Running:
        """What a process with this configuration runs, which ran what was `before`."""
        pools = {name: table.to_model(name) for name, table in config.every_pool().items()}
        earlier = before.known_since if before is not None else {}
        now = time.monotonic()
        since = {
            name: {backend.id: earlier.get(name, {}).get(backend.id, now) for backend in pool.backends}
            for name, pool in pools.items()
        }
        return cls(config, pools, since)
