"""A subscription to messages of a MemoryStore."""

from __future__ import annotations

import threading
from collections.abc import Collection


class MemoryWatch:
    """A subscription to some channels. It adds itself to `watches`, under the lock of `changed`."""

    def __init__(self, changed: threading.Condition, watches: list[MemoryWatch], channels: set[str]) -> None:
        self._changed = changed
        self._watches = watches
        self._channels = channels
        self._messages: set[str] = set()
        with changed:
            watches.append(self)

    def __repr__(self) -> str:
        return f"<MemoryWatch of {sorted(self._channels)}>"

    def receive(self, channel: str, message: str) -> None:
        """Add a message. Called under the lock."""
        if channel in self._channels:
            self._messages.add(message)

    def wait(self, timeout: float) -> Collection[str]:
        """See ports.py."""
        with self._changed:
            self._changed.wait_for(lambda: self._messages, timeout)
            messages, self._messages = self._messages, set()
            return messages

    def close(self) -> None:
        """See ports.py."""
        with self._changed:
            if self in self._watches:
                self._watches.remove(self)
