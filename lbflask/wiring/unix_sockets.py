"""Checks the unix sockets of `bind` and `admin_bind` before they are opened. gunicorn's master may import this."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from lbflask.config.load import ConfigError, place_of
from lbflask.config.schema import Config


def check_unix_sockets(config: Config, environ: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError, with place and setting, for a unix socket that cannot be created."""
    for key, addresses in (("bind", config.bind), ("admin_bind", (config.admin_bind,))):
        for address in addresses:
            reason = _obstacle(address)
            if reason:
                raise ConfigError(f"{place_of(key, environ)}: {key} = {address!r}: {reason}")


def _obstacle(address: str) -> str:
    """Why the socket cannot be created; empty if it can, or for another kind of address."""
    if not address.startswith("unix:"):
        return ""
    path = Path(address.removeprefix("unix:"))
    try:
        path.parent.stat()
        if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
            return "is there already, and no socket"
    except (OSError, ValueError) as error:
        return f"cannot be made: {getattr(error, 'strerror', None) or error}"
    return "" if os.access(path.parent, os.W_OK | os.X_OK) else f"cannot be made: {path.parent} is not writable"
