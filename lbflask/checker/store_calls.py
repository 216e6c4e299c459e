"""Calls of the blocking store from asyncio: one at a time, or one for each batch of messages of a subscription."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from lbflask.store.ports import StoreUnavailable, StoreWatch

#: Seconds between attempts to reach a store that is unavailable.
RETRY_INTERVAL = 0.25

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class StoreCalls:
    """Runs methods of the store on at most `threads` threads."""

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="store")

    async def __call__(
        self, method: Callable[Parameters, Result], *arguments: Parameters.args, **named: Parameters.kwargs
    ) -> Result:
        """Call the method and wait for its result."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(method, *arguments, **named))

    def close(self) -> None:
        """Accept no more calls. Those in progress end on their threads."""
        self._executor.shutdown(wait=False)


async def follow_messages(
    call: Callable[..., Awaitable[Any]],
    subscribe: Callable[[], StoreWatch],
    poll_interval: float,
    handle: Callable[[Collection[str]], Awaitable[None]],
) -> None:
    """Handle the messages of a subscription. Never ends.

    `handle` runs at once with no messages, then with each batch, and after `poll_interval` seconds without messages,
    since messages may be lost. `call` runs methods of the store. An unavailable store is retried; other exceptions of
    `handle` are raised.
    """
    while True:
        try:
            watch = await call(subscribe)
            try:
                messages: Collection[str] = ()
                while True:
                    await handle(messages)
                    messages = await call(watch.wait, poll_interval)
            finally:
                watch.close()
        except StoreUnavailable:
            await asyncio.sleep(RETRY_INTERVAL)
