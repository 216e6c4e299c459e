"""Configuration of rate limits: `[rate_limits.NAME]`."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from lbflask.config.field_types import Section
from lbflask.core.http.request_key import RequestKey
from lbflask.core.rate_limit import LONGEST, MOST_TOKENS, RateLimit

_SECONDS = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "day": 86_400}
#: An exponent of three digits or more: all such numbers are out of bounds, and to compute one could take hours.
_EXPONENT = re.compile(r"[eE][+-]?[\d_]{3}")
_RATE = re.compile(r"(\d+(?:\.\d+)?) */ *(\d*) *([a-z]+)")


def _rate(value: object) -> str:
    """The text as written; `_counted` parses it."""
    text = str(value).strip() if isinstance(value, (int, float, str)) and not isinstance(value, bool) else ""
    _counted(text)
    return text


def _counted(text: str) -> tuple[int, int]:
    """How many requests in how many seconds. Raises ValueError."""
    match = _RATE.fullmatch(text)
    try:
        count, period = (match[1], int(match[2] or 1) * _SECONDS[match[3]]) if match else (text, 1)
        if _EXPONENT.search(count):
            raise ValueError("out of bounds")
        requests = Fraction(count)
        per_second = requests / period
    except (KeyError, ValueError, ZeroDivisionError):
        raise ValueError("must be requests per second, or a text such as 100/min, 5/s, 1000/h or 3/10s") from None
    if requests.denominator == 1 and 0 < requests <= MOST_TOKENS and period <= LONGEST:
        return int(requests), period
    if not 0 < per_second.numerator <= MOST_TOKENS or per_second.denominator > LONGEST:
        raise ValueError(f"must be at most {MOST_TOKENS} requests, and at least one in {LONGEST} seconds")
    return per_second.numerator, per_second.denominator


def _key(value: str) -> str:
    if value in ("", "none"):
        return ""
    if value == "uri":
        raise ValueError("must be client, header:NAME, cookie:NAME, query:NAME or none")
    try:
        RequestKey.parse(value)
    except ValueError as error:
        raise ValueError(str(error).replace("client, uri, header", "client, header")) from None
    return value


class RateLimitConfig(Section):
    """A rate limit. Requests above it get 429."""

    rate: Annotated[str, BeforeValidator(_rate)]
    """Requests per second, as a number, or for another time: `100/min`, `5/s`, `1000/h`, `3/10s`."""
    burst: int | None = Field(default=None, ge=1, le=MOST_TOKENS)
    """Requests that may come at once after a pause; unless set, as many as in one second, at least 1."""
    key: Annotated[str, AfterValidator(_key)] = "client"
    """The key of counts: `client` (of IPv6 its /64), `header:NAME`, `cookie:NAME`, `query:NAME`; `none`: one count."""
    everywhere: bool = False
    """Whether it applies to all requests that are forwarded."""

    def to_model(self, name: str) -> RateLimit:
        """The limit as a value of the core."""
        count, period = _counted(self.rate)
        return RateLimit(name, count, period, self.burst or max(1, count // period))

    def request_key(self) -> RequestKey | None:
        """The request key by which requests are counted; None if all are counted together."""
        return RequestKey.parse(self.key) if self.key else None
