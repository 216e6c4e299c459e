"""Configuration of bans by rules: `[bans.NAME]`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from lbflask.config.field_types import Listed, Network, Section
from lbflask.config.units import SECONDS
from lbflask.core.access_list import AccessList, network_list
from lbflask.core.bans import DEFAULT_DURATION, MAX_DURATION, BanRule
from lbflask.core.http.addresses import IPNetwork

#: Answers that a rule counts at most: the store keeps a moment for each.
MOST_COUNTED = 1000


class BanRuleConfig(Section):
    """A rule that bans clients for the whole fleet by the answers that they get."""

    statuses: Annotated[Listed[Annotated[int, Field(ge=400, le=599)]], Field(min_length=1)]
    """Statuses of the answers that count, such as 401."""
    count: int = Field(default=20, ge=1, le=MOST_COUNTED)
    """How many of them ban a client: an address, or of IPv6 its /64 network."""
    within: Annotated[float, SECONDS, Field(gt=0, le=86_400, allow_inf_nan=False)] = 60.0
    """Within how many seconds they come."""
    for_: Annotated[float, SECONDS, Field(ge=1, le=MAX_DURATION, allow_inf_nan=False)] = Field(
        default=float(DEFAULT_DURATION), alias="for"
    )
    """Seconds of the ban."""
    exempt: Listed[Network] = ()
    """Networks whose clients are not banned, besides `trusted_proxies`."""

    def to_model(self, name: str, trusted: Iterable[IPNetwork]) -> BanRule:
        """The rule as a value of the core; `trusted` are the networks of proxies."""
        exempt = AccessList([network_list(map(str, (*self.exempt, *trusted)))], [])
        return BanRule(name, frozenset(self.statuses), self.count, self.within, round(self.for_), exempt)
