"""The rate limits that a request must pass before anything else is done for it, and the RateLimit fields of responses.

The fields are those of draft-ietf-httpapi-ratelimit-headers-10; Retry-After is RFC 9110 §10.2.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from lbflask.core.answers import AnswerCause
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.request_key import RequestKey
from lbflask.core.http.types import Fields
from lbflask.core.rate_limit import Allowance, RateLimit, of_client, policy_field, state_item, whole_seconds
from lbflask.proxy.client_request import ClientRequest

#: Values of one key that a request may have. Each takes a token, so that every reading of the request is limited.
MAX_VALUES = 4

_BY_HOST = RequestKey("header", "host")
_of_client = lru_cache(maxsize=4096)(of_client)


class RateLimitExceeded(Fault):
    """A request beyond a rate limit. `fields` are the RateLimit fields and Retry-After of its response."""

    def __init__(self, limit: str, fields: Fields) -> None:
        reason = f"more requests than the limit {limit!r} lets pass"
        super().__init__(Blame.CLIENT, Stage.CHOOSE, 429, reason, answer_cause=AnswerCause.RATE_LIMIT)
        self.limit = limit
        self.fields = fields


class RateLimits:
    """Limits for the same requests, in their order, each with its key; requests without one share a bucket.

    `acquire` takes a token of a limit for a value of its key.
    """

    def __init__(
        self, limits: Sequence[tuple[RateLimit, RequestKey | None]], acquire: Callable[[RateLimit, str], Allowance]
    ) -> None:
        self._limits = limits
        self._acquire = acquire
        self._policy = ("RateLimit-Policy", policy_field(limit for limit, _ in limits))

    def __repr__(self) -> str:
        return f"RateLimits({', '.join(limit.name for limit, _ in self._limits)})"

    def admit(self, request: ClientRequest, client: str, fields: Fields) -> Fields:
        """The RateLimit fields of the response to a request that all limits let pass.

        `fields` are those for the backend: a key is never read from a field that the backend does not get. For a key
        with several values, the bucket of each must give a token. Raises RateLimitExceeded, when the tokens of earlier
        limits are spent; Fault with 400 for a key with more than MAX_VALUES values.
        """
        items = []
        for limit, key in self._limits:
            values: Sequence[str] = ("",)
            if key is not None:
                values = self._values(limit, key, request, client, fields)
            allowance = self._allowance(limit, values)
            items.append(state_item(limit, allowance))
            if not allowance.passed:
                wait = ("Retry-After", str(max(1, whole_seconds(allowance.wait))))
                raise RateLimitExceeded(limit.name, [*self._fields(items), wait])
        return self._fields(items)

    def _fields(self, items: Sequence[str]) -> Fields:
        return [self._policy, ("RateLimit", ", ".join(items))]

    def _allowance(self, limit: RateLimit, values: Sequence[str]) -> Allowance:
        """The allowance of the emptiest bucket; buckets after one that refuses are not asked."""
        least = self._acquire(limit, values[0])
        for value in values[1:]:
            if not least.passed:
                break
            least = min(least, self._acquire(limit, value), key=lambda allowance: (allowance.passed, allowance.left))
        return least

    @staticmethod
    def _values(
        limit: RateLimit, key: RequestKey, request: ClientRequest, client: str, fields: Fields
    ) -> Sequence[str]:
        if key == _BY_HOST:
            fields = [("Host", request.host)]  # upstream requests have it apart from their fields
        values = key.values(client, request.target.text, fields) or ("",)
        if len(values) > MAX_VALUES:
            reason = f"the request names more than {MAX_VALUES} values for the key of the limit {limit.name!r}"
            raise Fault(Blame.CLIENT, Stage.CHOOSE, 400, reason)
        return [_of_client(value) for value in values] if key.kind == "client" else values
