"""Where a URL holds a secret, known in one place: none may reach a log or a terminal. Rather too much is masked."""

from __future__ import annotations

import re

#: Up to the last @, since people write passwords with @ and / unescaped, and some clients take them.
_USER_INFO = re.compile(r"://(?:([^\s:/@'\"]*):)?.*@")
#: redis-py reads these from the query of a URL.
_PARAMETER = re.compile(r"([?&](?:ssl_|sentinel_)?password=)[^&#'\"]*")


def masked(text: str) -> str:
    """The text with the passwords of its URLs as `***`."""
    text = _USER_INFO.sub(lambda found: "://***@" if found[1] is None else f"://{found[1]}:***@", text)
    return _PARAMETER.sub(r"\1***", text)
