"""Builds the room for the buffers of a worker."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from lbflask.config.buffering import BufferingConfig
from lbflask.config.schema import Config
from lbflask.core.buffering import BufferBudget
from lbflask.core.faults import Resource, Shortage, Stage
from lbflask.core.reserves import Use
from lbflask.telemetry.metrics import definitions
from lbflask.telemetry.metrics.recorder import Sample
from lbflask.telemetry.shortage_log import ShortageLog
from lbflask.upstream.oserror_text import oserror_text
from lbflask.upstream.spool import BufferStore

#: What happens to a body whose file can't be written.
OUTCOME = "a body streams instead, and its client may hold a backend"


def spool_folder(buffering: BufferingConfig) -> str:
    """The folder of the files: the configured one, `TMPDIR`, or one that is on a disk, as /tmp often is not."""
    if buffering.directory:
        return buffering.directory
    if not os.environ.get("TMPDIR") and os.access("/var/tmp", os.W_OK | os.X_OK):  # noqa: S108 - files without names
        return "/var/tmp"  # noqa: S108
    return tempfile.gettempdir()


def buffer_store(config: Config) -> BufferStore:
    """The room for all buffers. Files that can't be written are logged, one line in a while."""
    buffering, shortages = config.buffering, ShortageLog(outcome=OUTCOME)

    def report(error: OSError) -> None:
        reason = f"a body can't be buffered in a file: {oserror_text(error)}"
        shortages.note(Shortage(Stage.SEND, Resource.DISK, reason))

    return BufferStore(BufferBudget(buffering.memory, buffering.spool), spool_folder(buffering), report)


def apply_config(store: BufferStore, config: Config) -> None:
    """Bound the buffers as configured. Bodies that are in a buffer stay where they are."""
    buffering = config.buffering
    store.set_limits(buffering.memory, buffering.spool, spool_folder(buffering))


def spool_place(config: Config) -> Iterator[tuple[Use, Path]]:
    """The folder of the files, if a pool or a route has bodies in files."""
    levels = [config.buffering, *(pool.buffering for pool in config.pools.values())]
    if any(level.requests or level.responses for level in [*levels, *(route.buffering for route in config.routes)]):
        yield Use.SPOOL, Path(spool_folder(config.buffering))


def buffer_gauges(store: BufferStore) -> Callable[[], Iterator[Sample]]:
    """A source of the gauges of buffers."""

    def samples() -> Iterator[Sample]:
        yield definitions.BUFFERED, ("memory",), store.memory
        yield definitions.BUFFERED, ("file",), store.spool
        yield definitions.SPOOL_FAILURES, (), store.failures

    return samples
