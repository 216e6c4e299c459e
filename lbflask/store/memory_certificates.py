"""The records of automatic certificates in a MemoryStore."""

from __future__ import annotations

from collections.abc import Mapping

from lbflask.store.ports import CertificateRecords


class MemoryCertificates:
    """Written under the lock of its store."""

    def __init__(self) -> None:
        self._stored = CertificateRecords(0, {})

    def __repr__(self) -> str:
        return f"<MemoryCertificates {len(self._stored.records)} records>"

    def read(self, known: int) -> CertificateRecords | None:
        """See ports.py."""
        return None if self._stored.version == known else self._stored

    def write(self, records: Mapping[str, bytes], version: int) -> None:
        """Replace these records, and delete those that are empty."""
        after = {**self._stored.records, **records}
        self._stored = CertificateRecords(version, {name: record for name, record in after.items() if record})
