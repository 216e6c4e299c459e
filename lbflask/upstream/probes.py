"""The probes of the health checker: a backend in, an observation out, never an exception."""

from __future__ import annotations

import asyncio
import socket

from lbflask.core.health import Observation
from lbflask.core.model import Backend


async def probe_tcp(backend: Backend, timeout: float) -> Observation:
    """Whether a TCP connection can be made within `timeout` seconds; it is closed at once."""
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(backend.host, backend.port)
    except TimeoutError:
        return Observation(False, f"no connection within {timeout:g} s")
    except socket.gaierror as error:
        return Observation(False, f"its name cannot be resolved: {error.strerror}")
    except OSError as error:
        return Observation(False, (_last(error).strerror or type(error).__name__).lower())
    writer.close()
    return Observation(True, "connected")


def _last(error: OSError) -> OSError:
    """Asyncio wraps the errors of several addresses into one without a number."""
    if error.errno is None and isinstance(error.__context__, OSError):
        return error.__context__
    return error
