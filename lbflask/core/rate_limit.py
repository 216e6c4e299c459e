"""The arithmetic of rate limits: a token bucket in integers, so that every store computes the same.

A bucket holds `burst` tokens and gets `count` new ones in each `period`. Stored are the units that are missing from a
full bucket, and the time of that. A full bucket is not stored, so that an idle key costs nothing. One token is as many
units as a period has microseconds, and each microsecond adds `count` units.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import NamedTuple

from lbflask.core.http.addresses import parsed_address

MICROS = 1_000_000
#: Bounds of a limit. Lua counts in doubles: a full bucket with a period of a day stays below 2**53 units.
MOST_TOKENS = 100_000
LONGEST = 86_400


@dataclass(frozen=True, slots=True)
class RateLimit:
    """`count` requests in each `period` of so many seconds, and at most `burst` at once, for each key."""

    name: str
    count: int
    period: int
    burst: int

    @property
    def token(self) -> int:
        """Units of a token."""
        return self.period * MICROS

    def shared_by(self, workers: int) -> RateLimit:
        """The share of each of so many workers while they cannot coordinate."""
        return RateLimit(self.name, self.count, self.period * workers, max(1, self.burst // workers))


class Bucket(NamedTuple):
    """`missing` units of a full bucket at the moment `at`, in microseconds."""

    at: int
    missing: int


class Allowance(NamedTuple):
    """Whether a request passes, the whole tokens that are left after it, and the seconds until there is a token again
    (0 if there is one) and until the bucket is full.
    """

    passed: bool
    left: int
    wait: float
    full_in: float


def take(limit: RateLimit, bucket: Bucket | None, now: int) -> tuple[Bucket | None, Allowance]:
    """The bucket after a request for a token at `now`, and the result for the request.

    A rejected request takes no token. If the clock was set back, no token is added, and the bucket fills from `now` on.
    """
    missing = 0
    if bucket is not None:
        missing = max(0, bucket.missing - max(0, now - bucket.at) * limit.count)
    most, token = limit.burst * limit.token, limit.token
    passed = missing + token <= most
    if passed:
        missing += token
    if passed or bucket is None or bucket.at > now:
        bucket = Bucket(now, missing)
    return bucket, allowance(limit, missing, passed=passed)


def allowance(limit: RateLimit, missing: int, *, passed: bool) -> Allowance:
    """The result for a request, from the units that are missing in the bucket."""
    most, each = limit.burst * limit.token, limit.count * MICROS
    lacking = max(0, missing + limit.token - most)
    return Allowance(passed, max(0, most - missing) // limit.token, lacking / each, missing / each)


def full_at(limit: RateLimit, bucket: Bucket) -> int:
    """The time in microseconds from which on the bucket is full."""
    return bucket.at - (-bucket.missing // limit.count)


def of_client(address: str) -> str:
    """The key of a client address; for IPv6 the /64 network, which a single customer has (RFC 6177)."""
    if ":" not in address:
        return address
    whole = parsed_address(address)
    if whole is None or whole.version == 4:
        return address if whole is None else str(whole)
    return str(IPv6Address(int(whole) >> 64 << 64)) + "/64"


def policy_field(limits: Iterable[RateLimit]) -> str:
    """The value of RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10, section 3)."""
    return ", ".join([f'"{limit.name}";q={limit.count};w={limit.period}' for limit in limits])


def state_item(limit: RateLimit, allowance: Allowance) -> str:
    """The member of RateLimit for one limit (the draft's section 4): the tokens left, and the seconds until the
    next one if there is none, else until all are there.
    """
    return f'"{limit.name}";r={allowance.left};t={whole_seconds(allowance.wait or allowance.full_in)}'


def whole_seconds(seconds: float) -> int:
    """Rounded up, so that a client that waits as long succeeds."""
    return -int(-seconds // 1)
