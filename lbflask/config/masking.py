"""Where settings hold a secret, known in one place: none may reach a log or a terminal. Rather too much is masked."""

from __future__ import annotations

import re
from typing import Any

#: Up to the last @, since people write passwords with @ and / unescaped, and some clients take them.
_USER_INFO = re.compile(r"://(?:([^\s:/@'\"]*):)?.*@")
#: redis-py reads these from the query of a URL.
_PARAMETER = re.compile(r"([?&](?:ssl_|sentinel_)?password=)[^&#'\"]*")

#: Settings that are nothing but secrets, by the last step of their key.
_SECRETS = frozenset({"secrets"})


def is_secret(key: str) -> bool:
    """Whether the value of a setting must not be shown, as opposed to a URL with a password in it."""
    return key in _SECRETS


def without_secrets(values: Any) -> Any:
    """Settings, nested as they are, with `***` for each secret."""
    if isinstance(values, dict):
        return {key: _starred(value) if is_secret(key) else without_secrets(value) for key, value in values.items()}
    return values


def _starred(value: Any) -> Any:
    return ["***" for _ in value] if isinstance(value, list) else "***"


def masked(text: str) -> str:
    """The text with the passwords of its URLs as `***`."""
    text = _USER_INFO.sub(lambda found: "://***@" if found[1] is None else f"://{found[1]}:***@", text)
    return _PARAMETER.sub(r"\1***", text)
