"""The records of automatic certificates in a MemoryStore."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from lbflask.store.ports import MAX_WISHES, WISHES_FORGOTTEN_AFTER, CertificateRecords


class MemoryCertificates:
    """Written under the lock of its store."""

    def __init__(self) -> None:
        self._stored = CertificateRecords(0, {})
        self._wishes: dict[str, None] = {}
        self._wished_at = 0.0

    def __repr__(self) -> str:
        return f"<MemoryCertificates {len(self._stored.records)} records>"

    def read(self, known: int) -> CertificateRecords | None:
        """See ports.py."""
        return None if self._stored.version == known else self._stored

    def write(self, records: Mapping[str, bytes], version: int) -> None:
        """Replace these records, and delete those that are empty."""
        after = {**self._stored.records, **records}
        self._stored = CertificateRecords(version, {name: record for name, record in after.items() if record})

    def wish(self, names: Collection[str], now: float) -> None:
        """Add wishes, up to their limit."""
        self._drop_old(now)
        for name in names:
            if len(self._wishes) < MAX_WISHES:
                self._wishes[name] = None
        self._wished_at = now

    def take_wishes(self, most: int, now: float) -> Sequence[str]:
        """Remove and return some wishes."""
        self._drop_old(now)
        taken = list(self._wishes)[:most]
        for name in taken:
            del self._wishes[name]
        return taken

    def _drop_old(self, now: float) -> None:
        if now - self._wished_at >= WISHES_FORGOTTEN_AFTER:
            self._wishes.clear()
