"""The repository, the loopback address, and the limit of open files, for benchmarks, chaos and tests."""

from __future__ import annotations

import resource
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"


def raise_file_limit() -> int:
    """Allow this process and its children as many open files as the user may have. Returns the number."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most
