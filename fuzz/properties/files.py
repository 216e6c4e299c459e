"""Inputs as files, for parsers that read one."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path


@cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="fuzz-")


def written(data: bytes, name: str) -> Path:
    """A file of this name with the data, until the next one of the name."""
    path = Path(_directory().name, name)
    path.write_bytes(data)
    return path
