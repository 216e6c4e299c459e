"""The Lua scripts. Each runs after the prelude, and also returns the keys with invalid values that it met."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

from redis.commands.core import Script

from lbflask.store.invalid_data import InvalidDataLog
from lbflask.store.redis_client import Client
from lbflask.store.redis_errors import translated


def _read() -> dict[str, bytes]:
    files = {file.name: file.read_bytes() for file in resources.files("lbflask.store").joinpath("lua").iterdir()}
    prelude = files.pop("prelude.lua")
    return {
        name.removesuffix(".lua"): prelude
        + b"local function script()\n"
        + body
        + b"end\nreturn {script() or false, damaged}\n"
        for name, body in files.items()
    }


#: The source of each script as sent to Redis. All are read at import: later the process may be short of descriptors.
TEXTS = _read()


class Scripts:
    """The scripts of one client. Threads and greenlets may share it."""

    def __init__(self, client: Client, invalid_data: InvalidDataLog) -> None:
        self._client = client
        self._invalid_data = invalid_data
        self._scripts: dict[str, Script] = {}

    def run(self, name: str, keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
        """The result of the script; None for nil. Raises StoreUnavailable."""
        script = self._scripts.get(name)
        if script is None:
            # As bytes: else redis-py asks the client for its encoding, for which that of a cluster has to connect.
            script = self._scripts[name] = Script(self._client, TEXTS[name])  # type: ignore[arg-type]
        result, damaged = translated(lambda: script(keys=keys, args=args))
        if damaged:
            self._invalid_data.note([key.decode(errors="replace") for key in damaged])
        return result
