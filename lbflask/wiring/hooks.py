"""The hooks that the configuration names: for workers, and for the checker, which tells of health."""

from __future__ import annotations

from lbflask.config.load import ConfigError
from lbflask.config.schema import Config
from lbflask.hooks.runner import BadHook, Hooks


def hooks_of(config: Config) -> Hooks | None:
    """The hooks that are configured, if any. Raises ConfigError for one that can't be loaded."""
    try:
        return Hooks(config.hooks, config.hook_budget) if config.hooks else None
    except BadHook as error:
        raise ConfigError(f"hooks: {error}") from None
