"""Records which writes of health the store receives and which it carries out, by its MONITOR command."""

from __future__ import annotations

import threading
from contextlib import suppress

import redis

from devtools.wait import PATIENCE
from lbflask.store.keys import PoolKeys

KEYS = PoolKeys("lbflask", "default")


class WriteMonitor:
    """The epochs of all writes of active health: those `requested`, and those `applied`."""

    def __init__(self, url: str) -> None:
        self.applied: list[int] = []
        self.requested: list[int] = []
        self._client = redis.Redis.from_url(url, decode_responses=True)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> WriteMonitor:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.connection_pool.disconnect()
        self._thread.join(PATIENCE)
        self._client.close()

    def _listen(self) -> None:
        with suppress(redis.RedisError, OSError, ValueError, AttributeError), self._client.monitor() as monitor:
            self._ready.set()
            for line in monitor.listen():
                self._note(line["client_type"] == "lua", line["command"].split(" "))

    def _note(self, of_script: bool, words: list[str]) -> None:
        if not of_script and words[0] in ("EVALSHA", "EVAL") and KEYS.active in words and KEYS.epoch in words:
            self.requested.append(int(words[words.index(KEYS.version) + 1]))
        elif of_script and words[:2] == ["SET", KEYS.heartbeat]:
            self.applied.append(self.requested[-1])
