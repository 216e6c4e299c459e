"""Messages of the store, acted on as they come, and now and then without any, since messages may be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from lbflask.store.ports import StoreUnavailable, StoreWatch

#: Seconds between attempts to reach a store that is gone.
RETRY_EVERY = 0.25

Act = Callable[[Collection[str]], Awaitable[None]]


async def hear(
    ask: Callable[..., Awaitable[Any]], subscribe: Callable[[], StoreWatch], patience: float, act: Act
) -> None:
    """Act on nothing first, then on the messages, at the latest after so many seconds without any. Never ends.

    `ask` calls the store. Raises what `act` raises, but for StoreUnavailable.
    """
    while True:
        try:
            watch = await ask(subscribe)
            try:
                messages: Collection[str] = ()
                while True:
                    await act(messages)
                    messages = await ask(watch.wait, patience)
            finally:
                watch.close()
        except StoreUnavailable:
            await asyncio.sleep(RETRY_EVERY)
