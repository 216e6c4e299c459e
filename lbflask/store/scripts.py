"""The Lua scripts as one client runs them: each behind the prelude, and with what it has met that is not ours."""

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


#: The text of each script as Redis receives it. All are read at import: later the process may be short of descriptors.
TEXTS = _read()


class Scripts:
    """Threads and greenlets may share it."""

    def __init__(self, client: Client, complaints: InvalidDataLog) -> None:
        self._client = client
        self._complaints = complaints
        self._scripts: dict[str, Script] = {}

    def run(self, name: str, keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
        """What the script returns; None for nil. Raises StoreUnavailable."""
        script = self._scripts.get(name)
        if script is None:
            # As bytes: redis-py would ask a client for its encoding, and a cluster's would have to connect for it.
            script = self._scripts[name] = Script(self._client, TEXTS[name])  # type: ignore[arg-type]
        result, damaged = translated(lambda: script(keys=keys, args=args))
        if damaged:
            self._complaints.note([place.decode(errors="replace") for place in damaged])
        return result
