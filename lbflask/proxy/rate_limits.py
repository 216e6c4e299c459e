"""The rate limits that a request must pass before anything else is done for it, and what its client hears of them.

The fields are those of draft-ietf-httpapi-ratelimit-headers-10; Retry-After is RFC 9110 §10.2.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.hash_key import HashKey
from lbflask.core.rate_limit import Allowance, RateLimit, of_client, policy_field, state_item, whole_seconds
from lbflask.proxy.exchange import Exchange

_of_client = lru_cache(maxsize=4096)(of_client)


class RateLimits:
    """Limits that hold for the same requests, in their order, each with where its key stands (None: one for all)."""

    def __init__(
        self, rules: Sequence[tuple[RateLimit, HashKey | None]], take: Callable[[RateLimit, str], Allowance]
    ) -> None:
        self._rules = rules
        self._take = take
        self._policy = ("RateLimit-Policy", policy_field(limit for limit, _ in rules))

    def admit(self, exchange: Exchange) -> None:
        """Let the request pass if each of the limits does; requests without a key are counted together.

        Notes what its client is to be told. Raises Fault with status 429; what earlier limits gave is then spent.
        """
        items = []
        for limit, key in self._rules:
            allowance = self._take(limit, "" if key is None else self._whose(key, exchange))
            items.append(state_item(limit, allowance))
            if not allowance.passed:
                wait = ("Retry-After", str(max(1, whole_seconds(allowance.wait))))
                exchange.limits_told = [self._policy, ("RateLimit", ", ".join(items)), wait]
                raise Fault(Blame.CLIENT, Stage.CHOOSE, 429, f"more requests than the limit {limit.name!r} lets pass")
        exchange.limits_told = [self._policy, ("RateLimit", ", ".join(items))]

    @staticmethod
    def _whose(key: HashKey, exchange: Exchange) -> str:
        inbound = exchange.inbound
        found = key.of(exchange.client, inbound.target.text, inbound.fields) or ""
        return _of_client(found) if key.kind == "client" else found
