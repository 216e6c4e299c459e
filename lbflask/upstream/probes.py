"""The probes of the health checker: a backend in, an observation out, never an exception."""

from __future__ import annotations

import asyncio
import os
import re
import socket

from lbflask.core.health import Observation
from lbflask.core.model import Backend

#: Seconds between two tries to reach a unix socket whose backlog is full.
_KNOCK_EVERY = 0.05


async def probe_tcp(backend: Backend, timeout: float) -> Observation:
    """Whether a connection can be made within `timeout` seconds, to a port or a unix socket; it is closed at once."""
    try:
        async with asyncio.timeout(timeout):
            writer = await _connected(backend)
    except TimeoutError:
        return Observation(False, f"no connection within {timeout:g} s")
    except socket.gaierror as error:
        return Observation(False, f"its name cannot be resolved: {error.strerror}")
    except OSError as error:
        return Observation(False, _told(error))
    except (ValueError, OverflowError) as error:
        # A name that DNS has no form for (RFC 1035, section 2.3.4), a port beyond 65535.
        return Observation(False, f"its address cannot be used: {error}")
    writer.close()
    return Observation(True, "connected")


async def _connected(backend: Backend) -> asyncio.StreamWriter:
    if backend.scheme != "unix":
        return (await asyncio.open_connection(backend.host, backend.port))[1]
    while True:
        _, writer = await asyncio.open_unix_connection(backend.path)
        if writer.get_extra_info("peername") is not None:
            return writer
        # The backlog is full (connect(2)), which asyncio takes for a connection under way.
        writer.close()
        await asyncio.sleep(_KNOCK_EVERY)


def _told(error: OSError) -> str:
    """The error in the system's words: asyncio's own do not say that a connection was refused.

    The errors of several addresses it joins into one, which has their numbers only in its text.
    """
    numbers = [error.errno] if error.errno else [int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error))]
    return ", ".join(dict.fromkeys(os.strerror(number).lower() for number in numbers)) or str(error)
