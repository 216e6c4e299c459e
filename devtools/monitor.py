"""What the store is asked to write, and what of it it lets pass: MONITOR, read along."""

from __future__ import annotations

import threading
from contextlib import suppress

import redis

from devtools.wait import PATIENCE
from lbflask.store.keys import PoolKeys

KEYS = PoolKeys("lbflask", "default")


class WriteMonitor:
    """Every write of active health that the store lets pass, by its epoch, and every one that it is asked for."""

    def __init__(self, url: str) -> None:
        self.landed: list[int] = []
        self.asked: list[int] = []
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
            self.asked.append(int(words[words.index(KEYS.version) + 1]))
        elif of_script and words[:2] == ["SET", KEYS.heartbeat]:
            self.landed.append(self.asked[-1])
