"""The Date field's value, formatted once a second."""

from __future__ import annotations

import time
from email.utils import formatdate

_date_second = 0
_date_text = ""


def http_date() -> str:
    """The current time as an IMF-fixdate (RFC 9110 §5.6.7)."""
    global _date_second, _date_text
    second = int(time.time())
    if second != _date_second:
        _date_second, _date_text = second, formatdate(second, usegmt=True)
    return _date_text
