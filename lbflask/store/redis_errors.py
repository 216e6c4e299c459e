"""Translation of errors: everything that prevents an answer of Redis becomes StoreUnavailable, with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from lbflask.store.ports import StoreUnavailable

#: The errors of Redis for a key whose value has another type than the command is for.
_WRONG_TYPE = ("WRONGTYPE", "value is not an integer", "increment or decrement would overflow")


def translated(ask: Callable[[], Any]) -> Any:
    """The answer of Redis. Raises StoreUnavailable."""
    try:
        return ask()
    except (
        redis.RedisError, redis.exceptions.RedisClusterException, OSError, ValueError, AttributeError
    ) as error:  # fmt: skip
        # The last two come from redis-py's reader when `close` removes its connection while it waits.
        raise StoreUnavailable(reason_of(error)) from error


def reason_of(error: Exception) -> str:
    """The reason of an error: the code of a refusal (READONLY, OOM …) as sent by Redis, else the class of the error."""
    code = getattr(error, "status_code", None) or type(error).__name__
    message = str(error)
    if "ACL failure in script" in message:
        code = "NOPERM"  # Redis omits it for commands in scripts
    if isinstance(error, redis.ResponseError) and message.partition(" ")[0].isupper() and code == type(error).__name__:
        return message  # redis-py leaves the codes in the text that it does not know
    return f"{code}: {message}"


def is_wrong_type(error: BaseException | None) -> bool:
    """Whether Redis refused because of the value of a key."""
    return isinstance(error, redis.ResponseError) and any(sign in str(error) for sign in _WRONG_TYPE)
