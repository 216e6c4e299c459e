"""Tests of what runs in gevent's hub, without patching anything: each in a thread, with a hub of its own."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import ParamSpec

import gevent

from devtools.wait import PATIENCE

P = ParamSpec("P")
LONG = PATIENCE


def in_a_hub(test: Callable[P, None]) -> Callable[P, None]:
    """The test, run as a greenlet in a hub that nobody else uses. It has `LONG` to finish."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        failures: list[BaseException] = []

        def play() -> None:
            try:
                with gevent.Timeout(LONG, AssertionError(f"not over within {LONG:g} s")):
                    test(*args, **kwargs)
            except BaseException as failure:
                failures.append(failure)
            finally:
                gevent.get_hub().destroy(destroy_loop=True)

        thread = threading.Thread(target=play, daemon=True)
        thread.start()
        thread.join(LONG + 10)
        assert not thread.is_alive(), "the hub hangs"
        if failures:
            raise failures[0]

    return run


def reached(look: Callable[[], object], what: str) -> None:
    """Let the other greenlets run until `look` gives a true value."""
    deadline = time.monotonic() + LONG
    while not look():
        assert time.monotonic() < deadline, f"not within {LONG:g} s: {what}"
        gevent.sleep(0.001)


def turns(count: int = 10) -> None:
    """Let the hub look at all that is ready, so many times: what has not happened then is not about to."""
    for _ in range(count):
        gevent.sleep(0)
        gevent.sleep(0.001)
