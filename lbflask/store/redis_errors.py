"""Translation of errors: everything that prevents an answer of Redis becomes StoreUnavailable, with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from lbflask.connection_causes import cause_of as connection_cause
from lbflask.core import failure_causes
from lbflask.core.failure_causes import FailureCause
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
        raise StoreUnavailable(reason_of(error), store_cause(error)) from error


def reason_of(error: BaseException) -> str:
    """The reason of an error: the code of a refusal (READONLY, OOM …) as sent by Redis, else the class of the error."""
    code = getattr(error, "status_code", None) or type(error).__name__
    message = str(error)
    if "ACL failure in script" in message:
        code = "NOPERM"  # Redis omits it for commands in scripts
    if isinstance(error, redis.ResponseError) and message.partition(" ")[0].isupper() and code == type(error).__name__:
        return message  # redis-py leaves the codes in the text that it does not know
    return f"{code}: {message}"


def store_cause(error: BaseException) -> FailureCause:
    """The cause: that of the refusal, or of the failed connection behind the error of redis-py."""
    if isinstance(error, redis.RedisError) and "max number of clients" in str(error):
        return FailureCause.CLIENTS
    for code in (reason_of(error).partition(":")[0].partition(" ")[0], type(error).__name__):
        if cause := failure_causes.of_refusal(code):
            return cause
    if isinstance(error, (redis.TimeoutError, TimeoutError)):
        return FailureCause.NO_ANSWER
    behind = error.__cause__ or error.__context__
    cause = store_cause(behind) if isinstance(behind, Exception) else connection_cause(error)
    closed = isinstance(error, redis.ConnectionError) and cause is FailureCause.UNKNOWN
    return FailureCause.CLOSED if closed else cause


def is_wrong_type(error: BaseException | None) -> bool:
    """Whether Redis refused because of the value of a key."""
    return isinstance(error, redis.ResponseError) and any(sign in str(error) for sign in _WRONG_TYPE)
