"""Bans as documents of the API."""

from __future__ import annotations

from heapq import nlargest

from lbflask.control.api.ban_models import BanSummary, BanView
from lbflask.core.bans import Ban
from lbflask.fleet.fleet import Fleet

#: Bans that a summary shows.
MOST_SHOWN = 5


def ban_view(ban: Ban) -> BanView:
    """The view of a ban."""
    return BanView.model_validate(ban)


def ban_summary(fleet: Fleet) -> BanSummary:
    """The bans that this worker knows, without a trip."""
    active = fleet.bans.active()
    newest = nlargest(MOST_SHOWN, active, key=lambda ban: ban.since)
    return BanSummary(count=len(active), newest=tuple(map(ban_view, newest)))
