"""Hands the configuration of gunicorn's master to its workers: the checked values, not the file.

The file may have changed again, or be half written, when a worker reads it. So the master writes the configuration into
memory that forked processes share, with the outcome of the latest reload.
"""

from __future__ import annotations

import fcntl
import io
import os
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

from lbflask.config.schema import Config
from lbflask.core.reload import ReloadOutcome


class _Pickler(pickle.Pickler):
    """Writes dataclasses by their fields: the standard way sets attributes, which frozen compiled ones refuse."""

    def reducer_override(self, value: Any) -> Any:
        """As of the standard library."""
        if not is_dataclass(value) or isinstance(value, type):
            return NotImplemented
        return _dataclass, (type(value), {field.name: getattr(value, field.name) for field in fields(value)})


def _dataclass(kind: Any, values: dict[str, Any]) -> Any:
    made = kind.__new__(kind)  # object's is not allowed for compiled classes
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made


class SharedConfig:
    """Created by the master before it forks. The master writes, its workers read."""

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self._fd = os.memfd_create("lbflask-configuration")
        else:
            with tempfile.TemporaryFile() as file:
                self._fd = os.dup(file.fileno())

    def write(self, outcome: ReloadOutcome, config: Config) -> None:
        """Publish a configuration and the outcome of its reload."""
        pickled = io.BytesIO()
        _Pickler(pickled).dump((outcome, config))
        record = pickled.getvalue()
        with _locked(self._fd, fcntl.LOCK_EX):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, record, 0)

    def read(self) -> tuple[ReloadOutcome, Config] | None:
        """The outcome of the latest reload, and the configuration in effect; None before the first reload."""
        with _locked(self._fd, fcntl.LOCK_SH):
            record = os.pread(self._fd, os.fstat(self._fd).st_size, 0)
        if not record:
            return None
        published: tuple[ReloadOutcome, Config] = pickle.loads(record)  # noqa: S301 - from the master, by the same code
        return published

    def close(self) -> None:
        """Release the memory in this process."""
        os.close(self._fd)


@contextmanager
def _locked(fd: int, operation: int) -> Iterator[None]:
    """A lock of the file among processes. Its holder never waits for another one."""
    fcntl.lockf(fd, operation)
    try:
        yield
    finally:
        fcntl.lockf(fd, fcntl.LOCK_UN)
