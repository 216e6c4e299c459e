"""The effective configuration as text, as the command line prints it."""

from __future__ import annotations

from lbflask.config.render import effective, toml_of
from lbflask.config.schema import Config


def as_toml(config: Config) -> str:
    return toml_of(effective(config))
