"""Where settings hold a secret, known in one place: none may reach a log or a terminal. Rather too much is masked."""

from __future__ import annotations

import re
from typing import Any

#: Up to the last @, since people write passwords with @ and / unescaped, and some clients take them.
_USER_INFO = re.compile(r"://(?:([^\s:/@'\"]*):)?.*@")
#: redis-py reads these from the query of a URL.
_PARAMETER = re.compile(r"([?&](?:ssl_|sentinel_)?password=)[^&#'\"]*")

#: Settings that are nothing but secrets, by the last step of their key.
_SECRETS = frozenset({"secrets", "tokens"})
#: Settings that are header fields, and of these the ones whose values let somebody in, by their names.
_FIELDS = frozenset({"headers", "set", "add"})
_SECRET_FIELD = re.compile(r"authoriz|authentic|cookie|token|secret|password|credential|api-?key", re.IGNORECASE)


def is_secret(key: str) -> bool:
    """Whether the value of a setting must not be shown, as opposed to a URL with a password in it."""
    return key in _SECRETS


def without_secrets(value: Any, key: str = "") -> Any:
    """The value of the setting `key`, nested as it is, with `***` for each secret."""
    if is_secret(key) and isinstance(value, (str, list)):
        return ["***" for _ in value] if isinstance(value, list) else "***"
    if isinstance(value, dict):
        return {
            name: _of_field(name, item) if key in _FIELDS and isinstance(item, str) else without_secrets(item, name)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(item, key) for item in value]
    if key == "headers" and isinstance(value, str):
        name, colon, text = value.partition(": ")
        return name + colon + _of_field(name, text)
    return value


def _of_field(name: str, value: str) -> str:
    return "***" if _SECRET_FIELD.search(name) else value


def masked(text: str) -> str:
    """The text with the passwords of its URLs as `***`."""
    text = _USER_INFO.sub(lambda found: "://***@" if found[1] is None else f"://{found[1]}:***@", text)
    return _PARAMETER.sub(r"\1***", text)
