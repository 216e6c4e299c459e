"""The rate limits that a request must pass before anything else is done for it, and what its client hears of them.

The fields are those of draft-ietf-httpapi-ratelimit-headers-10; Retry-After is RFC 9110 §10.2.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.fields import Fields
from lbflask.core.http.request_key import RequestKey
from lbflask.core.rate_limit import Allowance, RateLimit, of_client, policy_field, state_item, whole_seconds
from lbflask.proxy.context import RequestContext

#: Values of one key that a request may have. Each takes a token, so that no reading of the request is without a limit.
MOST_VALUES = 4

_BY_HOST = RequestKey("header", "host")
_of_client = lru_cache(maxsize=4096)(of_client)


class RateLimits:
    """Limits that hold for the same requests, in their order, each with where its key stands (None: one for all)."""

    def __init__(
        self, rules: Sequence[tuple[RateLimit, RequestKey | None]], take: Callable[[RateLimit, str], Allowance]
    ) -> None:
        self._rules = rules
        self._take = take
        self._policy = ("RateLimit-Policy", policy_field(limit for limit, _ in rules))

    def admit(self, exchange: RequestContext, fields: Fields) -> None:
        """Let the request pass if each of the limits does; requests without a key are counted together.

        `fields` are those that the backend is to get: what it does not see is no key.

        Where a key has several values the bucket of each must give a token. Notes what the client is to be told. Raises
        Fault with status 429, when what earlier limits gave is spent; with 400 for a key with more than MOST_VALUES.
        """
        items = []
        for limit, key in self._rules:
            allowance = self._taken(limit, ("",) if key is None else self._whose(limit, key, exchange, fields))
            items.append(state_item(limit, allowance))
            if not allowance.passed:
                wait = ("Retry-After", str(max(1, whole_seconds(allowance.wait))))
                exchange.limits_told = [self._policy, ("RateLimit", ", ".join(items)), wait]
                raise Fault(Blame.CLIENT, Stage.CHOOSE, 429, f"more requests than the limit {limit.name!r} lets pass")
        exchange.limits_told = [self._policy, ("RateLimit", ", ".join(items))]

    def _taken(self, limit: RateLimit, keys: Sequence[str]) -> Allowance:
        """What the emptiest of the buckets allows; those behind one that refuses are not asked."""
        least = self._take(limit, keys[0])
        for key in keys[1:]:
            if not least.passed:
                break
            least = min(least, self._take(limit, key), key=lambda allowance: (allowance.passed, allowance.left))
        return least

    @staticmethod
    def _whose(limit: RateLimit, key: RequestKey, exchange: RequestContext, fields: Fields) -> Sequence[str]:
        inbound = exchange.inbound
        if key == _BY_HOST:
            fields = [("Host", inbound.host)]  # which is written last
        found = key.values(exchange.client, inbound.target.text, fields) or ("",)
        if len(found) > MOST_VALUES:
            reason = f"the request names more than {MOST_VALUES} values for the key of the limit {limit.name!r}"
            raise Fault(Blame.CLIENT, Stage.CHOOSE, 400, reason)
        return [_of_client(one) for one in found] if key.kind == "client" else found
