"""What this process runs, as the control plane sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lbflask.config.schema import Config
from lbflask.core.model import Pool


@dataclass(frozen=True, slots=True)
class Running:
    """A configuration in effect, with its pools by name."""

    config: Config
    pools: Mapping[str, Pool]

    @classmethod
    def of(cls, config: Config) -> Running:
        """What a process with this configuration runs."""
        return cls(config, {name: table.to_model(name) for name, table in config.every_pool().items()})
