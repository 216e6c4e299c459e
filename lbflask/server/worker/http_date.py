"""The Date field's value, formatted once a second."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache, partial
from typing import Final

_imf_fixdate: Final = lru_cache(maxsize=1)(partial(formatdate, usegmt=True))


def http_date() -> str:
    """The current time as an IMF-fixdate (RFC 9110 §5.6.7)."""
    return _imf_fixdate(int(time.time()))
