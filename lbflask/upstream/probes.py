"""The probes of the health checker: a backend in, an observation out, never an exception."""

from __future__ import annotations

import asyncio
import os
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
        return Observation(False, _told(_last(error)))
    except (ValueError, OverflowError) as error:
        # A name that DNS has no form for (RFC 1035, section 2.3.4), a port beyond 65535.
        return Observation(False, f"its address cannot be used: {error}")
    writer.close()
    return Observation(True, "connected")


def _last(error: OSError) -> OSError:
    """Asyncio wraps the errors of several addresses into one without a number."""
    if error.errno is None and isinstance(error.__context__, OSError):
        return error.__context__
    return error


def _told(error: OSError) -> str:
    """The error in words. Asyncio's own text for a refused connection does not say that it was refused."""
    return (os.strerror(error.errno) if error.errno else type(error).__name__).lower()
