"""Measures the file systems in which a worker writes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from lbflask.core.reserves import FileSystem, Use


def measured(places: Iterable[tuple[Use, Path]]) -> Iterator[FileSystem]:
    """The file systems of these files and folders, each once. Those of pipes and devices, and without a size, are left
    out, and so is what does not exist.
    """
    seen = set()
    for use, path in places:
        with suppress(OSError):
            status = path.stat()
            if status.st_dev in seen or not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                continue
            seen.add(status.st_dev)
            found = os.statvfs(path)
            if found.f_blocks:
                yield FileSystem(use, str(path), found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)
