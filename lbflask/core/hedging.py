"""When a second attempt begins beside a slow first one, at another backend (Dean and Barroso 2013, "The Tail at
Scale").

It begins after the time within which most of the latest requests to the pool had their first byte. It costs the retry
budget, and has a smaller share of its own besides.
"""

from __future__ import annotations

from math import inf
from typing import Final

#: The share of the requests that may have a second attempt of this kind.
HEDGE_SHARE: Final = 0.02
#: Seconds that are never slow: the time between two threads, and the chance of a busy machine.
LEAST_DELAY: Final = 0.01
#: Responses without which the latencies of a pool prove nothing.
LEAST_RESPONSES: Final = 50


def hedge_delay(latency: float | None, responses: int) -> float:
    """Seconds after which the second attempt begins: the latency that most of so many latest responses do not exceed,
    but at least LEAST_DELAY. Infinite while too little is known.
    """
    if latency is None or responses < LEAST_RESPONSES:
        return inf
    return max(LEAST_DELAY, latency)
