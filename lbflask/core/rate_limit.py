"""The arithmetic of rate limits: a token bucket, in whole numbers, so that every store counts alike.

A bucket holds `burst` tokens and gets `count` new ones in each `period`. What is written down is what is missing from
a full one, and when that was so. A full bucket needs no writing down, so whoever has not asked for a while costs
nothing. One token is as many units as a period has microseconds, and each microsecond brings `count` units.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import NamedTuple

MICROS = 1_000_000
#: The most that a limit may name. Lua counts in doubles: a full bucket of a day's period stays below 2**53 units.
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
        """What each of so many workers may let pass when they can't ask one another."""
        return RateLimit(self.name, self.count, self.period * workers, max(1, self.burst // workers))


class Bucket(NamedTuple):
    """`missing` units of a full bucket at the moment `at`, in microseconds."""

    at: int
    missing: int


class Allowance(NamedTuple):
    """Whether a request may pass, how many whole tokens are left behind it, and seconds: until there is a token again
    (0 while there is one), and until the bucket is full.
    """

    passed: bool
    left: int
    wait: float
    full_in: float


def take(limit: RateLimit, bucket: Bucket | None, now: int) -> tuple[Bucket | None, Allowance]:
    """The bucket after a request asked for a token at `now`, and what became of the request.

    One that is refused takes nothing. A clock that went back adds no token, and the bucket fills from there on.
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
    """What there is to tell of a bucket that lacks so many units."""
    most, each = limit.burst * limit.token, limit.count * MICROS
    lacking = max(0, missing + limit.token - most)
    return Allowance(passed, max(0, most - missing) // limit.token, lacking / each, missing / each)


def full_at(limit: RateLimit, bucket: Bucket) -> int:
    """The moment in microseconds from which on the bucket says nothing that a full one would not."""
    return bucket.at - (-bucket.missing // limit.count)


def of_client(address: str) -> str:
    """Whom an address stands for: of an IPv6 address, the network of 64 bits that a single customer has (RFC 6177)."""
    if ":" not in address or address == "unix:":
        return address
    try:
        whole = IPv6Address(address)
    except ValueError:
        return address
    if whole.ipv4_mapped is not None:
        return str(whole.ipv4_mapped)
    return str(IPv6Address(int(whole) >> 64 << 64)) + "/64"


def policy_field(limits: Iterable[RateLimit]) -> str:
    """The value of RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10, section 3)."""
    return ", ".join([f'"{limit.name}";q={limit.count};w={limit.period}' for limit in limits])


def state_item(limit: RateLimit, allowance: Allowance) -> str:
    """The member of RateLimit for one limit (the draft's section 4): what is left, and in how many seconds there is
    more: a token where there is none, else all of them.
    """
    return f'"{limit.name}";r={allowance.left};t={whole_seconds(allowance.wait or allowance.full_in)}'


def whole_seconds(seconds: float) -> int:
    """Rounded up, so that whoever waits so long has waited long enough."""
    return -int(-seconds // 1)
