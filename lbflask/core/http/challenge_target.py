"""Requests by which certificate authorities validate a name over plain HTTP (RFC 8555 §8.3)."""

from __future__ import annotations

import re
from typing import Final

#: The token is base64url.
_CHALLENGE: Final = re.compile(r"/\.well-known/acme-challenge/[A-Za-z0-9_-]{1,512}")


def is_challenge(target: str) -> bool:
    """Whether the request target is that of a challenge."""
    return _CHALLENGE.fullmatch(target) is not None
