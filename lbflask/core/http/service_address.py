"""The address of an HTTP service that the balancer itself asks, such as one for authentication."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from lbflask.core.model import DEFAULT_PORTS, Address

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_TARGET = re.compile(r"/[!-~]*")


class ServiceAddress(NamedTuple):
    """Where a service is: the origin of its URL, the value of Host, and the target of its requests."""

    origin: str
    address: Address
    host: str
    target: str


def service_address(url: str) -> ServiceAddress:
    """The parts of a URL. Raises ValueError, with what is expected."""
    expected = "must be a URL such as http://auth.internal:4180/check"
    if not url.isprintable() or not url.isascii():
        raise ValueError(expected)  # urlsplit would remove line breaks
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(expected) from None
    host, target = parts.hostname or "", parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host) or not _TARGET.fullmatch(target):
        raise ValueError(expected)
    if "@" in parts.netloc or parts.fragment:
        raise ValueError(f"{expected}, without a user and without a fragment")
    address = Address(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme])
    return ServiceAddress(f"{parts.scheme}://{parts.netloc}", address, parts.netloc, target)
