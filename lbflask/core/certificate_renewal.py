"""When a certificate is renewed, and when an order that failed is tried again. Times are in seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

#: The part of its lifetime after which a certificate is renewed, and the part over which names spread after it.
RENEWAL_PART: Final = 2 / 3
SPREAD_PART: Final = 1 / 30
#: Seconds until the next order after a first failure, doubled for each further one up to the second number.
FIRST_PAUSE: Final = 60.0
LONGEST_PAUSE: Final = 21_600.0
#: The longest wait that an authority may ask for with Retry-After: its rate limits last for up to a week.
LONGEST_RETRY_AFTER: Final = 604_800.0
#: Orders of one name within an hour. Authorities refuse further ones after about five failures.
MAX_TRIES_PER_HOUR: Final = 4
HOUR: Final = 3600.0
#: Seconds between two questions for the renewal window of a certificate: usual, least and most (RFC 9773 §4.3).
WINDOW_INTERVAL: Final = 21_600.0
LEAST_WINDOW_INTERVAL: Final = 60.0
MOST_WINDOW_INTERVAL: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Period:
    """A time from `begins` to `ends`: the validity of a certificate, or the window in which its authority suggests to
    renew it (RFC 9773 §4.2).
    """

    begins: float
    ends: float


@dataclass(frozen=True, slots=True)
class OrderAttempts:
    """The orders of a name: when those of the last hour began, how many failed in a row, why the latest did, and the
    time before which there is no further one.
    """

    tries: tuple[float, ...] = ()
    failures: int = 0
    reason: str = ""
    resumes: float = 0.0


NO_ATTEMPTS: Final = OrderAttempts()


def spread(name: str) -> float:
    """A number from 0 to below 1 that is always the same for the name, and evenly spread over names."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=6).digest()) / (1 << 48)


def renewal_moment(name: str, validity: Period, window: Period | None = None) -> float:
    """When the certificate of the name is to be renewed: within the suggested window, else after two thirds of its
    lifetime, never after its end. Names have different moments, each always the same one.
    """
    if window is None or window.ends < window.begins:
        lifetime = max(0.0, validity.ends - validity.begins)
        window = Period(
            validity.begins + lifetime * RENEWAL_PART, validity.begins + lifetime * (RENEWAL_PART + SPREAD_PART)
        )
    return min(window.begins + spread(name) * (window.ends - window.begins), validity.ends)


def next_window_check(now: float, retry_after: float | None) -> float:
    """When to ask for the renewal window again, after an answer at `now` with this Retry-After in seconds, if any."""
    pause = WINDOW_INTERVAL if retry_after is None else retry_after
    return now + min(MOST_WINDOW_INTERVAL, max(LEAST_WINDOW_INTERVAL, pause))


def resumption(attempts: OrderAttempts, now: float) -> float:
    """When an order that has begun may go on, `now` at the earliest.

    A moment that no rule could have set, as after the clock was set back, is corrected.
    """
    return max(now, min(attempts.resumes, now + LONGEST_RETRY_AFTER))


def next_try(attempts: OrderAttempts, now: float) -> float:
    """When the next order may begin: as `resumption`, and at most MAX_TRIES_PER_HOUR begin within an hour."""
    recent = sorted(begun for begun in attempts.tries if now - HOUR < begun <= now)
    free = recent[-MAX_TRIES_PER_HOUR] + HOUR if len(recent) >= MAX_TRIES_PER_HOUR else now
    return max(free, resumption(attempts, now))


def with_try(attempts: OrderAttempts, now: float) -> OrderAttempts:
    """The attempts with an order that begins now."""
    recent = tuple(begun for begun in attempts.tries if now - HOUR < begun <= now)
    kept = (*sorted(recent)[1 - MAX_TRIES_PER_HOUR :], now)
    return OrderAttempts(kept, attempts.failures, attempts.reason, attempts.resumes)


def with_failure(
    name: str, attempts: OrderAttempts, now: float, reason: str, retry_after: float | None = None
) -> OrderAttempts:
    """The attempts after an order of the name has failed. The pause doubles with each failure in a row, is longer by up
    to a quarter that differs between names, and never shorter than the authority's Retry-After, in seconds.
    """
    doublings = min(attempts.failures, 30)
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**doublings) * (1 + spread(name) / 4)
    if retry_after is not None:
        pause = max(pause, min(retry_after, LONGEST_RETRY_AFTER))
    return OrderAttempts(attempts.tries, attempts.failures + 1, reason, now + pause)


def with_success(attempts: OrderAttempts) -> OrderAttempts:
    """The attempts after an order was completed."""
    return OrderAttempts(attempts.tries)
