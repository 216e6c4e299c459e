"""Where this machine keeps what outlives a process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def state_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Systemd's directory of the unit, if it has one; else that of the system, for root, or of the user."""
    of_unit = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if of_unit:
        return Path(of_unit)
    if os.geteuid() == 0:
        return Path("/var/lib/lbflask")
    return Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "lbflask"
