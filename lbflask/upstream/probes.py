"""The probes of the health checker: a backend in, an observation out, never an exception."""

from __future__ import annotations

import asyncio
import os
import re
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
        return Observation(False, _told(error))
    except (ValueError, OverflowError) as error:
        # A name that DNS has no form for (RFC 1035, section 2.3.4), a port beyond 65535.
        return Observation(False, f"its address cannot be used: {error}")
    writer.close()
    return Observation(True, "connected")


def _told(error: OSError) -> str:
    """The error in the system's words: asyncio's own do not say that a connection was refused.

    The errors of several addresses it joins into one, which has their numbers only in its text.
    """
    numbers = [error.errno] if error.errno else [int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error))]
    return ", ".join(dict.fromkeys(os.strerror(number).lower() for number in numbers)) or str(error)
