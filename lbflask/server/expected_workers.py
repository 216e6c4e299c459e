"""The number of workers that gunicorn runs, in memory that the master and its workers share."""

from __future__ import annotations

import mmap

#: Bytes of the number.
_SIZE = 4


class ExpectedWorkers:
    """Written by the master, also at SIGTTIN and SIGTTOU; running workers read the new number. 0 if unknown."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)

    def __repr__(self) -> str:
        return f"<ExpectedWorkers {self.number}>"

    @property
    def number(self) -> int:
        """The number now."""
        return int.from_bytes(self._memory[:_SIZE])

    def set_number(self, number: int) -> None:
        """Replace the number."""
        self._memory[:_SIZE] = number.to_bytes(_SIZE)
