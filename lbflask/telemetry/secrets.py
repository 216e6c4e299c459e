"""What must not be read in a log, known in one place: values of parameters and fields by their usual names."""

from __future__ import annotations

import re

MASK = "***"
_WORDS = (
    *("token", "secret", "passw", "pwd", "auth", "credential", "signature", "jwt", "otp"),
    *("apikey", "api_key", "accesskey", "access_key", "sessionid", "session_id"),
)
#: A target has no blanks, and may have anything else in a value.
_PARAMETER = re.compile(rf"([?&;][^=&;?\s]*(?:{'|'.join(_WORDS)})[^=&;\s]*=)[^&;#\s]+", re.IGNORECASE)
#: A field that a message quotes, up to the end of its line.
_FIELD = re.compile(r"\b((?:proxy-)?authorization|(?:set-)?cookie)\b.*", re.IGNORECASE)


def masked_target(target: str) -> str:
    """The target without secrets in its query."""
    path, mark, query = target.partition("?")
    if not mark:
        return target
    asked = query.lower()
    for word in _WORDS:  # most queries have none, and are done in a fifth of the time
        if word in asked:
            return path + _PARAMETER.sub(rf"\1{MASK}", mark + query)
    return target


def masked_message(text: str) -> str:
    """A message, or a traceback, without secrets of targets and fields that it quotes. Rather too much is masked."""
    return _FIELD.sub(rf"\1 {MASK}", _PARAMETER.sub(rf"\1{MASK}", text))
