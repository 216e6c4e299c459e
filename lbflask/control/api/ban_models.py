"""Documents of the API on bans."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lbflask.control.api.base_model import Model


class BanView(Model):
    """A banned address or network."""

    network: str
    until: float
    """The end of the ban, in seconds of the store's clock."""
    since: float
    actor: Annotated[str, Field(serialization_alias="who")]
    """The operator; of a ban by a rule, the instance that gave it."""
    reason: str
    rule: str
    """The rule that gave the ban; empty for an operator's."""


class BansView(Model):
    """The bans that are not over."""

    bans: tuple[BanView, ...]
    """The latest first."""
    at: float
    """Now, in seconds of the store's clock."""


class BanSummary(Model):
    """The bans, as the worker that answers knows them."""

    count: int
    newest: tuple[BanView, ...]
    """The at most five newest ones, the latest first."""


class BanDone(Model):
    """The result of an action on a ban."""

    changed: bool
    """False if there was nothing to change."""
    network: str
    """The network, in its shortest form."""
    until: float
    """The end of the ban, in seconds of the store's clock; 0 for none."""
