"""How Redis is asked: whatever keeps its answer from us becomes StoreUnavailable, with a reason for operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from lbflask.store.ports import StoreUnavailable

#: What Redis answers where a key holds something else than the command is for.
_OF_ANOTHER_KIND = ("WRONGTYPE", "value is not an integer", "increment or decrement would overflow")


def translated(ask: Callable[[], Any]) -> Any:
    """Redis's answer. Raises StoreUnavailable."""
    try:
        return ask()
    except (
        redis.RedisError, redis.exceptions.RedisClusterException, OSError, ValueError, AttributeError
    ) as error:  # fmt: skip
        # The last two are what redis-py's reader comes to when `close` takes its connection away while it waits.
        raise StoreUnavailable(reason_of(error)) from error


def reason_of(error: Exception) -> str:
    """Why there is no answer: the code of a refusal (READONLY, OOM …) as Redis gives it, else the kind of the error."""
    code = getattr(error, "status_code", None) or type(error).__name__
    message = str(error)
    if "ACL failure in script" in message:
        code = "NOPERM"  # which Redis says of commands, but not of those in scripts
    if isinstance(error, redis.ResponseError) and message.partition(" ")[0].isupper() and code == type(error).__name__:
        return message  # redis-py leaves the codes that it does not know in the text
    return f"{code}: {message}"


def is_of_another_kind(error: BaseException | None) -> bool:
    """Whether Redis refused because of what a key holds."""
    return isinstance(error, redis.ResponseError) and any(sign in str(error) for sign in _OF_ANOTHER_KIND)
